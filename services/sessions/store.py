"""Where the read models are stored. `tests/contract/session_store.py` tests every implementation against what is
written here."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from proto.events import EventBatch
from services.chassis.postgres.errors import DataRefused
from services.chassis.postgres.errors import StoreAway as StoreAway
from services.sessions.changes import Change
from services.sessions.entries import DeadLetter, Entry, storable
from services.sessions.overtaken import Overtaken
from services.sessions.read_set import ReadSet
from services.sessions.values import name_of


class Position(NamedTuple):
    """How far the rows have come: the stream's epoch and the last applied sequence; `ORIGIN` before the first
    message."""

    epoch: str
    sequence: int


ORIGIN = Position("", 0)


class PositionConflict(Exception):
    """The position is not the expected one: another instance has moved it on. Read on from `actual`."""

    def __init__(self, actual: Position) -> None:
        super().__init__(f"the position is {actual} already")
        self.actual = actual


class FactsRefused(Exception):
    """The facts cannot be folded, or their rows cannot be stored: trying again would fail again. The text says why."""


class Outcome(NamedTuple):
    """The result of one commit."""

    events: int = 0  # applied
    duplicates: int = 0  # batches that had been applied before
    unknown: int = 0  # facts about connections without a known opening
    resumed: int = 0  # sessions that were continued by a new connection
    edges_lost: int = 0
    interrupted: int = 0  # sessions that lost their connection in a way after which they may be resumed
    without_room: int = 0  # letters that were not kept
    overtaken: int = 0  # messages that the log had dropped


class Tell(Protocol):
    """Learns what commits change."""

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know more than the positions."""

    def tell(self, before: Position, after: Position, changes: list[Change] | None, generation: int = 0) -> None:
        """A commit moved the rows from one position to another. `changes` is None if nobody wanted them, or there are
        too many, or they are not known; `generation` is that of the rows."""


class Store(Protocol):
    """The read model: its rows, and the position in the log that they have reached."""

    async def position(self) -> Position:
        """The position of the rows. Raises `StoreAway`."""

    async def commit(
        self,
        expected: Position,
        upto: Position,
        batches: Sequence[EventBatch],
        read_set: ReadSet | None = None,
        letters: Sequence[DeadLetter] = (),
        archived: Sequence[Entry] = (),
        overtaken: Sequence[Overtaken] = (),
    ) -> Outcome:
        """Folds `batches` into the rows, sets `letters` aside, copies the messages `archived` into the archive,
        remembers which messages the log had dropped, and moves the position from `expected` to `upto`, in one
        transaction.

        `read_set` is that of `batches`, if the caller had time to work it out. A batch whose number is not above the
        last applied one of its writer has been applied before and is left out. Letters are kept as long as there is
        room for them by the rules of `entries`.

        Raises `PositionConflict` if the position is not `expected`; `FactsRefused` if the facts are to blame: then
        nothing has changed; `StoreAway` if the outcome is unknown: ask `position`.
        """

    async def replay(self, letter: DeadLetter, batch: EventBatch, rest: DeadLetter | None = None) -> Outcome | None:
        """Folds `batch`, the facts of `letter`, into the rows as they are now, and removes the letter, in one
        transaction. If `rest` is given, it takes the letter's place. None if there is no such letter any more.

        Raises `FactsRefused`, and `StoreAway`.
        """

    def release(self) -> None:
        """Another process folds from now on: forgets all that is kept in memory about users. Nothing else changes."""

    async def open_instances(self) -> set[str]:
        """The instances of edges with open connections. Raises `StoreAway`."""

    async def running_instances(self) -> set[str]:
        """The instances of edges that started, and neither stopped nor were lost. Raises `StoreAway`."""

    async def last_number(self, instance: str) -> int:
        """The number of the last applied batch of a writer, 0 if there is none. Raises `StoreAway`."""

    async def writers(self, prefix: str) -> dict[str, int]:
        """The number of the last applied batch of each writer whose instance begins with `prefix`. Raises
        `StoreAway`."""


def unseen(batches: Sequence[EventBatch], numbers: dict[str, int]) -> list[EventBatch]:
    """The batches that are not applied yet. `numbers` (by writer, its last number) is updated with them."""
    new = []
    for batch in batches:
        writer = name_of(batch.instance)
        if batch.number > numbers.get(writer, 0):
            numbers[writer] = batch.number
            new.append(batch)
    return new


@contextmanager
def refusals() -> Iterator[None]:
    """Turns errors about facts into `FactsRefused`: all errors that do not come from the store itself."""
    try:
        yield
    except DataRefused as error:
        raise FactsRefused(storable(_reason(error.__cause__ or error))) from error
    except (StoreAway, PositionConflict, FactsRefused):
        raise
    except Exception as error:
        raise FactsRefused(storable(_reason(error))) from error


def _reason(error: BaseException) -> str:
    state, first = getattr(error, "sqlstate", None), str(error).partition("\n")[0]
    if state is not None:
        return f"PostgreSQL: {first} ({state})"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(where.filename).name}, line {where.lineno})"
