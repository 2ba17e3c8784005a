"""Where the read model lives: the contract that its implementations share (tests/sessions/store_contract.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from proto.events import EventBatch
from services.sessions.needs import Needs
from services.sessions.projection import name_of


class Position(NamedTuple):
    """How far the rows have come: the epoch of the stream and the last sequence applied; `ORIGIN` before the first."""

    epoch: str
    sequence: int


ORIGIN = Position("", 0)


class StoreAway(Exception):
    """The store cannot be reached or did not answer in time. Trying again may succeed; nothing was half done."""


class Moved(Exception):
    """Somebody else moved the position on: read on from `actual`."""

    def __init__(self, actual: Position) -> None:
        super().__init__(f"the position is {actual} already")
        self.actual = actual


class Outcome(NamedTuple):
    """What one commit did."""

    events: int = 0  # applied
    duplicates: int = 0  # batches that had been applied before
    unknown: int = 0  # facts about connections whose opening is not known
    resumed: int = 0  # sessions that were continued
    edges_lost: int = 0


class Store(Protocol):
    async def position(self) -> Position:
        """Where to read on. Raises `StoreAway`."""

    async def commit(
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], needs: Needs | None = None
    ) -> Outcome:
        """Folds `batches` into the rows and moves the position from `expected` to `upto`: both, or neither.

        `needs` are those of `batches`, where the caller had time to work them out.
        A batch whose writer's last applied number is not lower has been applied and is left out. Raises `Moved` when
        the position is not `expected`, `StoreAway` when nothing can be said of the outcome: ask `position`.
        """

    async def open_instances(self) -> set[str]:
        """The edge processes that have open connections. Raises `StoreAway`."""

    async def last_number(self, instance: str) -> int:
        """The number of the last batch of a writer, 0 when there is none. Raises `StoreAway`."""

    async def writers(self, prefix: str) -> dict[str, int]:
        """Writers whose instance begins so -> the number of their last batch. Raises `StoreAway`."""


def unseen(batches: Sequence[EventBatch], numbers: dict[str, int]) -> list[EventBatch]:
    """The batches that are not applied yet; `numbers` (writer -> last number) is brought up to date with them."""
    new = []
    for batch in batches:
        writer = name_of(batch.instance)
        if batch.number > numbers.get(writer, 0):
            numbers[writer] = batch.number
            new.append(batch)
    return new
