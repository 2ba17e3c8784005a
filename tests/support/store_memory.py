"""The read model of sessions in memory: all rows in one `State`."""

from __future__ import annotations

from collections.abc import Sequence

from proto.events import EventBatch
from services.sessions.projection import fold, name_of
from services.sessions.read_set import ReadSet
from services.sessions.rows import State
from services.sessions.store import ORIGIN, Outcome, Position, PositionConflict, unseen


class MemoryStore:
    """A `services.sessions.store.Store`. Unbounded, and gone with the process."""

    def __init__(self, resume_window_ms: int) -> None:
        self.state = State(resume_window_ms)
        self._numbers: dict[str, int] = {}
        self._position = ORIGIN

    async def position(self) -> Position:
        return self._position

    async def commit(
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], read_set: ReadSet | None = None
    ) -> Outcome:
        if expected != self._position:
            raise PositionConflict(self._position)
        state = self.state
        before = (state.events, state.unknown, state.resumed, state.edges_lost, state.interrupted)
        new = unseen(batches, self._numbers)
        fold(state, new)
        self._position = upto
        after = (state.events, state.unknown, state.resumed, state.edges_lost, state.interrupted)
        events, unknown, resumed, lost, interrupted = (now - then for now, then in zip(after, before, strict=True))
        return Outcome(events, len(batches) - len(new), unknown, resumed, lost, interrupted)

    async def open_instances(self) -> set[str]:
        return {one.instance for one in self.state.connections.values() if one.closed_at is None}

    async def last_number(self, instance: str) -> int:
        return self._numbers.get(name_of(instance), 0)

    async def writers(self, prefix: str) -> dict[str, int]:
        return {name: number for name, number in self._numbers.items() if name.startswith(prefix)}
