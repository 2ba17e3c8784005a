"""Commits a part of the log. What the store refuses is found by halving, put aside, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from proto.events_reading import Unreadable
from services.sessions.entries import DeadLetter, Entry, letter
from services.sessions.read_ahead import Portion
from services.sessions.store import FactsRefused, Outcome, Position, Store, StoreAway


class Step(NamedTuple):
    """One transaction: the position after it, what it did, and what it put aside."""

    position: Position
    outcome: Outcome
    letters: list[DeadLetter]


async def commit_portion(
    store: Store, at: Position, portion: Portion, took: Callable[[Step], None], archiving: bool = False
) -> None:
    """Commits `portion` from the position `at` on; calls `took` after each transaction. `archiving`: its messages go
    into the archive, too.

    Facts that cannot be folded cost one transaction for each halving that leads to their message. Raises
    `PositionConflict`, and `StoreAway`.
    """
    after = Position(at.epoch, portion.upto)
    letters = [letter(at.epoch, entry, entry.unreadable) for entry in portion.entries if entry.unreadable]
    archived = portion.entries if archiving else ()
    try:
        outcome = await store.commit(at, after, portion.batches, portion.read_set, letters, archived)
    except FactsRefused as refused:
        if len(portion.entries) > 1:
            first, second = portion.halves()
            await commit_portion(store, at, first, took, archiving)
            await commit_portion(store, Position(at.epoch, first.upto), second, took, archiving)
            return
        letters = [letter(at.epoch, entry, Unreadable(entry.data, str(refused))) for entry in portion.entries]
        outcome = await _put_aside(store, at, after, letters, archived)
    took(Step(after, outcome, letters))


async def _put_aside(
    store: Store, at: Position, after: Position, letters: list[DeadLetter], archived: Sequence[Entry]
) -> Outcome:
    try:
        return await store.commit(at, after, [], None, letters, archived)
    except FactsRefused as refused:  # it stays in the log, so nothing is lost while somebody mends the table
        raise StoreAway(f"a dead letter cannot be stored: {refused}; see the table dead_letters") from refused
