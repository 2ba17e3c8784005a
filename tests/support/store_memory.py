"""The read model of sessions in memory: all rows in one `State`."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from proto.events import EventBatch
from services.sessions.entries import MAX_LETTERS, DeadLetter, Entry, with_room
from services.sessions.overtaken import Overtaken
from services.sessions.projection import fold
from services.sessions.read_set import ReadSet
from services.sessions.state import State
from services.sessions.store import ORIGIN, Outcome, Position, PositionConflict, refusals, unseen
from services.sessions.values import name_of


class MemoryStore:
    """A `services.sessions.store.Store`. Unbounded, and gone with the process."""

    def __init__(self, resume_window_ms: int) -> None:
        self.state = State(resume_window_ms)
        self.letters: dict[tuple[str, int], DeadLetter] = {}
        self.archive: dict[tuple[str, int], bytes] = {}
        self.overtaken: set[tuple[str, int]] = set()
        self._numbers: dict[str, int] = {}
        self._position = ORIGIN

    async def position(self) -> Position:
        return self._position

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
        if expected != self._position:
            raise PositionConflict(self._position)
        numbers = dict(self._numbers)
        new = unseen(batches, numbers)
        outcome = self._fold(new)._replace(duplicates=len(batches) - len(new))
        self._position, self._numbers = upto, numbers
        kept = with_room(letters, sum(one.newer for one in self.letters.values()))
        for letter in kept:
            self.letters[letter.epoch, letter.sequence] = letter
        while len(self.letters) > MAX_LETTERS:
            del self.letters[next(iter(self.letters))]
        lost = {
            (upto.epoch, sequence) for one in overtaken for sequence in range(one.first, one.last + 1)
        } - self.archive.keys()
        self.overtaken |= lost
        for entry in archived:
            self.archive.setdefault((upto.epoch, entry.sequence), entry.data)
        return outcome._replace(without_room=len(letters) - len(kept), overtaken=len(lost))

    async def replay(self, letter: DeadLetter, batch: EventBatch, rest: DeadLetter | None = None) -> Outcome | None:
        key = letter.epoch, letter.sequence
        if key not in self.letters:
            return None
        outcome = self._fold([batch])
        if rest is None:
            del self.letters[key]
        else:
            self.letters[key] = rest
        return outcome

    def _fold(self, batches: Sequence[EventBatch]) -> Outcome:
        state = copy.deepcopy(self.state)
        before = _counts(state)
        with refusals():
            fold(state, batches)
        self.state = state
        return Outcome(*(now - then for now, then in zip(_counts(state), before, strict=True)))

    def release(self) -> None:
        """Its rows are the store itself."""

    async def open_instances(self) -> set[str]:
        return {one.instance for one in self.state.connections.values() if one.closed_at is None}

    async def running_instances(self) -> set[str]:
        return {
            one.instance
            for one in self.state.edges.values()
            if one.started_at is not None and one.stopped_at is None and one.lost_at is None
        }

    async def last_number(self, instance: str) -> int:
        return self._numbers.get(name_of(instance), 0)

    async def writers(self, prefix: str) -> dict[str, int]:
        return {name: number for name, number in self._numbers.items() if name.startswith(prefix)}


def _counts(state: State) -> tuple[int, ...]:
    return state.events, 0, state.unknown, state.resumed, state.edges_lost, state.interrupted
