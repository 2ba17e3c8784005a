"""Heartbeats for tests."""

from __future__ import annotations

from proto.telemetry import EdgeLoad, Heartbeat, Process, SessionsLoad


def process(uptime_s: float = 1.0, cpu_s: float = 0.0) -> Process:
    return Process(
        cpu_s=cpu_s, rss_bytes=50_000_000, open_fds=20, max_fds=1024, loop_lag_s=0.001, uptime_s=uptime_s
    )  # fmt: skip


def edge(
    instance: str, name: str = "edge-1", *, connections: int = 0, accepted: int = 0, left: int | None = None,
    uptime_s: float = 1.0, cpu_s: float = 0.0,
) -> Heartbeat:  # fmt: skip
    load = EdgeLoad(
        connections=connections, users=connections, channels=1, subscriptions=2 * connections, messages_in=accepted,
        messages_out=10 * accepted, bytes_out=100 * accepted, publishes=accepted, accepted=accepted, drain_left=left,
    )  # fmt: skip
    return Heartbeat(
        service="edge", name=name, instance=instance, version="1", at=0, process=process(uptime_s, cpu_s), edge=load
    )  # fmt: skip


def sessions(instance: str, sequence: int, lag: int) -> Heartbeat:
    load = SessionsLoad(events_applied=sequence * 2, stream_sequence=sequence, lag_batches=lag)
    return Heartbeat(
        service="sessions", name="sessions-1", instance=instance, version="1", at=0, process=process(), sessions=load
    )  # fmt: skip
