"""Heartbeats: about once a second each process says on `tel.<service>.<instance>` what it is and how it fares.

Counters count from the start of the process and never fall; a new `instance` starts again from zero. Whoever listens
takes a process for gone when its heartbeat is late by `LOST_AFTER_S`.
"""

from __future__ import annotations

from msgspec import DecodeError, Struct, json

HEARTBEAT_INTERVAL_S = 1.0
LOST_AFTER_S = 5.0
"""Five missed heartbeats: long enough for a loop that is busy for seconds, short enough for the bound on ghosts."""


class Process(Struct, frozen=True, kw_only=True):
    """What every process knows of itself."""

    cpu_s: float  # user + system, since start
    rss_bytes: int
    open_fds: int
    max_fds: int
    loop_lag_s: float  # how late the heartbeat timer fired
    uptime_s: float


class EdgeLoad(Struct, frozen=True, kw_only=True):
    """What an edge adds. `drain_left` counts the connections that are still to be closed, None when not draining."""

    connections: int
    users: int
    channels: int
    subscriptions: int
    messages_in: int
    messages_out: int
    bytes_out: int
    publishes: int
    accepted: int
    drain_left: int | None = None


class SessionsLoad(Struct, frozen=True, kw_only=True):
    """What the sessions service adds."""

    events_applied: int
    stream_sequence: int  # the last batch that is in PostgreSQL
    lag_batches: int  # batches in the stream behind it


class Heartbeat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`leaving` stands in the last heartbeat of a process that ends in order: it answers no more."""

    service: str  # "edge", "sessions", "metrics"
    name: str  # what an operator calls it, such as "edge-1"
    instance: str  # unique for each start of a process
    version: str
    at: int  # Unix time, milliseconds
    process: Process
    edge: EdgeLoad | None = None
    sessions: SessionsLoad | None = None
    leaving: bool = False


encode_heartbeat = json.Encoder().encode
_decode_heartbeat = json.Decoder(Heartbeat).decode


def decode_heartbeat(data: bytes) -> Heartbeat:
    """Raises msgspec.DecodeError for anything else (bytes that are not JSON in UTF-8, or JSON of another shape)."""
    try:
        return _decode_heartbeat(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(str(error)) from None
