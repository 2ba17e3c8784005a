"""The events of a broker for its edge, kept for a test."""

from __future__ import annotations

from proto.messages import Publication
from proto.publications import LiveMessage
from proto.trace_context import TraceContext


class Listener:
    """Keeps the broker's events."""

    def __init__(self) -> None:
        self.lives: list[tuple[str, LiveMessage]] = []
        self.ephemerals: list[tuple[str, Publication]] = []
        self.ephemeral_times: list[float] = []  # when each was published
        self.ephemeral_traces: list[TraceContext | None] = []

    def live(self, channel: str, message: LiveMessage) -> None:
        self.lives.append((channel, message))

    def ephemeral(
        self, channel: str, publication: Publication, published_at: float = 0.0, trace: TraceContext | None = None
    ) -> None:
        self.ephemerals.append((channel, publication))
        self.ephemeral_times.append(published_at)
        self.ephemeral_traces.append(trace)

    def broker_connected(self) -> None:
        pass

    def broker_disconnected(self) -> None:
        pass

    def logs_checked(self) -> None:
        pass
