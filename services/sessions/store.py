"""Where the read model lives. `tests/contract/session_store.py` holds every implementation to what is written here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from proto.events import EventBatch
from services.sessions.projection import name_of
from services.sessions.read_set import ReadSet


class Position(NamedTuple):
    """How far the rows have come: the epoch of the stream and the last sequence applied; `ORIGIN` before the first."""

    epoch: str
    sequence: int


ORIGIN = Position("", 0)


class StoreAway(Exception):
    """The store cannot be reached or did not answer in time. Trying again may succeed; nothing was half done."""


class PositionConflict(Exception):
    """The position is not the expected one: another instance has moved it on. Read on from `actual`."""

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
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], read_set: ReadSet | None = None
    ) -> Outcome:
        """Folds `batches` into the rows and moves the position from `expected` to `upto`: both, or neither.

        `read_set` is that of `batches`, if the caller had time to work it out. A batch whose number is not above the
        last applied one of its writer has been applied before and is left out. Raises `PositionConflict` if the
        position is not `expected`, and `StoreAway` if the outcome is unknown: ask `position`.
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
