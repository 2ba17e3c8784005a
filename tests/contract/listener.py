"""What a broker tells its edge, kept for a test."""

from __future__ import annotations

from proto.messages import Publication
from proto.publications import LiveMessage


class Listener:
    """Keeps the broker's events."""

    def __init__(self) -> None:
        self.lives: list[tuple[str, LiveMessage]] = []
        self.ephemerals: list[tuple[str, Publication]] = []
        self.ephemeral_times: list[float] = []  # when each was published

    def live(self, channel: str, message: LiveMessage) -> None:
        self.lives.append((channel, message))

    def ephemeral(self, channel: str, publication: Publication, published_at: float = 0.0) -> None:
        self.ephemerals.append((channel, publication))
        self.ephemeral_times.append(published_at)

    def broker_connected(self) -> None:
        pass

    def broker_disconnected(self) -> None:
        pass

    def logs_checked(self) -> None:
        pass
