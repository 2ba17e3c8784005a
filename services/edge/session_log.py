"""Where an edge writes down what happened to its sessions: facts go in one by one and are kept in that order."""

from __future__ import annotations

from typing import Protocol

from proto.events import SessionEvent


class SessionLog(Protocol):
    """Takes facts at any time, also while the log cannot be reached; bounded, and it counts what it had to drop."""

    def record(self, event: SessionEvent) -> None:
        """Writes `event` down soon. Never blocks."""

    async def flush(self, timeout_s: float) -> bool:
        """Waits until everything recorded is stored for good. False when that took longer than `timeout_s`."""


class NoSessionLog:
    """Forgets everything; for unit tests and for an edge without sessions."""

    def record(self, event: SessionEvent) -> None:
        return None

    async def flush(self, timeout_s: float) -> bool:
        return True
