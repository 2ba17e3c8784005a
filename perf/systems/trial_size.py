"""How much one trial of a comparison does."""

from __future__ import annotations

import msgspec


class Size(msgspec.Struct, frozen=True):
    """`burst_s` is the time in which all connections of the burst are due.

    `warm_up` connections come before anything is measured: a service that has run for a minute has long loaded and
    compiled its code, and every one of several workers has started. Then `idle_s` without clients is the baseline.
    """

    connections: int = 5000
    rooms: int = 500  # over which connections are spread
    rate: float = 500.0
    burst_s: float = 1.0
    subscribers: int = 1000
    fanout_s: float = 3.0
    latency_subscribers: int = 100
    latency_rate: float = 20.0
    latency_s: float = 4.0
    data_bytes: int = 128
    warm_up: int = 100
    idle_s: float = 1.0

    def changed(self, connections: int | None, rate: float | None) -> Size:
        """The size with the values of options; each room keeps its ten members."""
        count = connections or self.connections
        return msgspec.structs.replace(self, connections=count, rooms=max(1, count // 10), rate=rate or self.rate)


QUICK = Size(40, 4, 200.0, 0.1, 20, 0.3, 10, 20.0, 0.5, warm_up=20, idle_s=0.3)
