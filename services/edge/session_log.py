"""Where an edge records the facts of its sessions, one by one; they are stored in that order."""

from __future__ import annotations

from typing import Protocol

from proto.events import SessionEvent
from proto.trace_context import TraceContext


class SessionLog(Protocol):
    """Takes facts at any time, even while the log is unavailable. It is bounded, and counts the facts that it drops."""

    @property
    def waiting(self) -> int:
        """Facts that are recorded and not stored yet."""

    @property
    def oldest_at(self) -> int | None:
        """When the oldest fact that is not stored yet became true, in Unix milliseconds; None if all are stored."""

    @property
    def stored(self) -> int:
        """Facts stored since the start."""

    @property
    def dropped(self) -> int:
        """Facts dropped since the start."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored now, for the operator; None if there is no such reason."""

    def record(self, event: SessionEvent, trace: TraceContext | None = None) -> None:
        """Queues `event` to be stored soon. Never blocks. `trace`: the span that caused it, if that is traced."""

    async def flush(self, timeout_s: float) -> bool:
        """Waits until everything recorded is stored. False if that takes longer than `timeout_s`."""


class NoSessionLog:
    """Discards everything: for an edge without sessions (`edge.broker = "memory"`)."""

    waiting = stored = dropped = 0
    oldest_at: int | None = None
    problem: str | None = None

    def record(self, event: SessionEvent, trace: TraceContext | None = None) -> None:
        return None

    async def flush(self, timeout_s: float) -> bool:
        return True
