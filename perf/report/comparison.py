"""What one trial of one system found. Plain data; None means "not measured here", for instance of a foreign process."""

from __future__ import annotations

import msgspec


class Connects(msgspec.Struct):
    """Times are seconds from when each connection was due. `cpu_ms` is the servers' CPU for each connection."""

    asked_per_s: float
    attempted: int
    connected: int
    p50_s: float | None
    p99_s: float | None
    per_s: float
    cpu_ms: float | None
    lateness_p99_s: float | None
    starved: bool
    failures: dict[str, int] = {}

    @property
    def success(self) -> float:
        return self.connected / self.attempted if self.attempted else 0.0


class Fanout(msgspec.Struct):
    """Fan-out at the servers' limit. `busy` is the share of their cores that they used."""

    subscribers: int
    published: int
    expected: int
    received: int
    per_s: float
    per_cpu_s: float | None
    busy: float | None
    starved: bool

    @property
    def delivered(self) -> float:
        return self.received / self.expected if self.expected else 0.0


class Latency(msgspec.Struct):
    """Seconds from when a publication was due to when a subscriber read it, while other connections are held."""

    subscribers: int
    held: int
    rate: float
    expected: int
    received: int
    p50_s: float | None
    p99_s: float | None
    lateness_p99_s: float | None
    starved: bool


class Stop(msgspec.Struct):
    """`seconds` from the first signal until the last process was gone, None if one had to be killed."""

    clients: int
    seconds: float | None
    codes: dict[str, int]


class Trial(msgspec.Struct):
    system: str = msgspec.field(name="contender")
    repeat: int
    start_s: float | None = None
    idle_pss_bytes: int | None = None
    idle_cpu_share: float | None = None
    connection_pss_bytes: float | None = None
    connection_cpu_ms: dict[str, float] = {}  # of each program, steady; its idle work is included
    steady: Connects | None = None
    burst: Connects | None = None
    latency: Latency | None = None
    fanout: Fanout | None = None
    stop: Stop | None = None
