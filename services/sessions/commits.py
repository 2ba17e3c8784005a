"""Commits a part of the log. A message that the store refuses is found by halving, and set aside; the rest goes on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from proto.events_reading import Unreadable
from services.sessions.entries import DeadLetter, letter
from services.sessions.overtaken import Overtaken
from services.sessions.read_ahead import Portion
from services.sessions.store import FactsRefused, Outcome, Position, Store, StoreAway


class Step(NamedTuple):
    """One transaction: the position after it, its outcome, the letters that it set aside, and what the log had
    dropped."""

    position: Position
    outcome: Outcome
    letters: list[DeadLetter]
    overtaken: tuple[Overtaken, ...] = ()


async def commit_portion(
    store: Store, at: Position, portion: Portion, took: Callable[[Step], None], archiving: bool = False
) -> None:
    """Commits `portion` from the position `at` on; calls `took` after each transaction. `archiving`: its messages go
    into the archive, too.

    Facts that cannot be folded cost one more transaction for each halving on the way to their message. Raises
    `PositionConflict`, and `StoreAway`.
    """
    try:
        step = await _whole(store, at, portion, archiving)
    except FactsRefused as refused:
        await _in_halves(store, at, portion, took, archiving, refused)
    else:
        took(step)


async def _whole(store: Store, at: Position, portion: Portion, archiving: bool) -> Step:
    after, archived = Position(at.epoch, portion.upto), portion.entries if archiving else ()
    letters = [letter(at.epoch, entry, entry.unreadable) for entry in portion.entries if entry.unreadable]
    outcome = await store.commit(at, after, portion.batches, portion.read_set, letters, archived, portion.overtaken)
    return Step(after, outcome, letters, portion.overtaken)


async def _in_halves(
    store: Store, at: Position, portion: Portion, took: Callable[[Step], None], archiving: bool, refused: FactsRefused
) -> None:
    """Commits in halves a portion that was refused as a whole. A single message is set aside."""
    if len(portion.entries) > 1:
        first, second = portion.halves()
        await commit_portion(store, at, first, took, archiving)
        await commit_portion(store, Position(at.epoch, first.upto), second, took, archiving)
        return
    letters = [letter(at.epoch, entry, Unreadable(entry.data, str(refused))) for entry in portion.entries]
    took(await _set_aside(store, at, portion, letters, archiving))


async def _set_aside(store: Store, at: Position, portion: Portion, letters: list[DeadLetter], archiving: bool) -> Step:
    after, archived = Position(at.epoch, portion.upto), portion.entries if archiving else ()
    try:
        outcome = await store.commit(at, after, [], None, letters, archived, portion.overtaken)
        return Step(after, outcome, letters, portion.overtaken)
    except FactsRefused as refused:  # the message stays in the log: nothing is lost while somebody repairs the table
        raise StoreAway(f"a dead letter cannot be stored: {refused}; see the table dead_letters") from refused


class Commits:
    """Commits portions of the log one after the other, from the position `at` on. The next commit may begin while one
    is written: a store then folds it already. `begun`: the sequence up to which commits have begun.

    An error from `finish` ends all commits that have begun: `close` this, and go on from the position that the store
    has then.
    """

    _AT_ONCE: Final = 2

    def __init__(self, store: Store, at: Position, took: Callable[[Step], None], archiving: bool) -> None:
        self._store = store
        self._at = at
        self._took = took
        self._archiving = archiving
        self._waiting: deque[tuple[Portion, asyncio.Task[Step]]] = deque()
        self.begun = at.sequence

    @property
    def are_many(self) -> bool:
        """Whether so many commits have begun that the first must be finished before the next begins."""
        return len(self._waiting) >= self._AT_ONCE

    @property
    def are_done(self) -> bool:
        """Whether all commits that have begun are finished."""
        return not self._waiting

    def begin(self, portion: Portion) -> None:
        """Begins to commit `portion`, which follows the portions before."""
        at = Position(self._at.epoch, self.begun)
        task = asyncio.get_running_loop().create_task(_whole(self._store, at, portion, self._archiving))
        self._waiting.append((portion, task))
        self.begun = portion.upto

    async def finish(self) -> Portion:
        """Finishes the oldest commit that has begun. Raises `PositionConflict`, and `StoreAway`."""
        portion, task = self._waiting[0]
        try:
            step = await task
        except FactsRefused as refused:
            await self._without(portion, refused)
        else:
            self._waiting.popleft()
            self._at = step.position
            self._took(step)
        return portion

    async def _without(self, portion: Portion, refused: FactsRefused) -> None:
        """Commits the first portion, a part of which was refused, in halves.

        The commits behind it were folded upon the whole portion. They are ended first, lest one of them be stored by
        itself once the halves have moved the position, and begin again afterwards.
        """
        behind = [each for each, _ in self._waiting][1:]
        await self.close()
        await _in_halves(self._store, self._at, portion, self._took, self._archiving, refused)
        self._at = Position(self._at.epoch, portion.upto)
        self.begun = portion.upto
        for each in behind:
            self.begin(each)

    async def close(self) -> None:
        """Ends the commits that have begun, and waits until they have ended. Each may be stored, or not."""
        tasks = [task for _, task in self._waiting]
        self._waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
