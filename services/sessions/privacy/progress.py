"""How an export or an erasure reports its progress. Pure."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol


class Progress(Protocol):
    """Called often, with `done` of `total` of a step. `total` is 0 if it is not known."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


def unwatched(step: str, done: int, total: int) -> None:
    """Does nothing, if nobody watches the progress."""


class Incomplete(Exception):
    """An erasure cannot go on now. What is done stays done, and another erasure goes on from there. The text says
    why."""


class Connected(Exception):
    """The user is connected, so nothing was erased. Whoever reports this adds how to disconnect the user."""

    def __init__(self) -> None:
        super().__init__("the user is connected, and nothing was erased: let your application refuse them")


class Report(NamedTuple):
    """How much is, or was, stored about the user, by store. `erased_at`: when the user was erased before, in Unix
    milliseconds, 0 if never."""

    stores: Counter[str]
    erased_at: int = 0

    @property
    def total(self) -> int:
        """Everything that was counted."""
        return self.stores.total()
