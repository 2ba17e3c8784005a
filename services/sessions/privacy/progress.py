"""How an export or an erasure says how far it has come, to whoever watches. Pure."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol


class Progress(Protocol):
    """Is told `done` of `total` of a step, often. `total` is 0 where nobody knows it."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


def unwatched(step: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


class Incomplete(Exception):
    """An erasure cannot go on now. What is done stays done, and erasing again goes on from there. The text says why."""


class Connected(Exception):
    """The user is connected, so nothing was erased. Whoever tells it adds how he is disconnected."""

    def __init__(self) -> None:
        super().__init__("the user is connected, and nothing was erased: let your application refuse them")


class Report(NamedTuple):
    """What is, or was, stored about the user: how much, by store. `erased_at`: when he was erased before, in Unix
    milliseconds, 0 if never."""

    stores: Counter[str]
    erased_at: int = 0

    @property
    def total(self) -> int:
        """Everything that was counted."""
        return self.stores.total()
