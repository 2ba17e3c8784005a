"""Where an edge records what happens to its sessions: facts go in one by one and are stored in that order."""

from __future__ import annotations

from typing import Protocol

from proto.events import SessionEvent


class SessionLog(Protocol):
    """Takes facts at any time, also while the log cannot be reached. Bounded: it counts the facts it had to drop."""

    @property
    def waiting(self) -> int:
        """Facts that are recorded and not stored yet."""

    @property
    def stored(self) -> int:
        """Facts stored since the start."""

    @property
    def dropped(self) -> int:
        """Facts dropped since the start."""

    def record(self, event: SessionEvent) -> None:
        """Has `event` stored soon. Never blocks."""

    async def flush(self, timeout_s: float) -> bool:
        """Waits until everything recorded is stored for good. False when that took longer than `timeout_s`."""


class NoSessionLog:
    """Forgets everything: for an edge without sessions (`edge.broker = "memory"`)."""

    waiting = stored = dropped = 0

    def record(self, event: SessionEvent) -> None:
        return None

    async def flush(self, timeout_s: float) -> bool:
        return True
