"""Minutes of edges whose true costs are known."""

from __future__ import annotations

import random

from services.metrics.minutes import Minute

CPU_FIXED, CPU_DELIVERY, CPU_COMMAND = 0.03, 2e-5, 8e-5
BYTES_CONNECTION, BYTES_FIXED = 9_000, 60e6


def minute(
    connections: float, deliveries: float = 0.0, commands: float = 0.0, *, at: int = 0, edge: str = "edge-1",
    noise: random.Random | None = None, draining: bool = False,
) -> Minute:  # fmt: skip
    """An edge at this load (rates per second). With `noise`, its measured figures are a little off."""
    off = (lambda: noise.gauss(1, 0.03)) if noise is not None else lambda: 1.0
    cpu = (CPU_FIXED + CPU_DELIVERY * deliveries + CPU_COMMAND * commands) * off()
    return Minute(
        at, edge, 60, connections=connections, users=connections, channels=connections / 10,
        subscriptions=2 * connections, messages_in=commands, messages_out=deliveries, publishes=commands / 2,
        bytes_out=150 * deliveries, cpu=cpu, memory_bytes=(BYTES_FIXED + BYTES_CONNECTION * connections) * off(),
        open_fds=25 + connections, max_fds=20_000, loop_lag_s=0.001 + 0.002 * cpu / (1 - min(cpu, 0.95)),
        draining=draining,
    )  # fmt: skip
