"""Heartbeats: once a second each process publishes its identity and figures on `tel.<service>.<instance>`.

Counters count from the start of the process and never fall; a new `instance` starts from zero. Listeners consider a
process lost if they have not heard it for `LOST_AFTER_S`.
"""

from __future__ import annotations

from msgspec import DecodeError, Struct, json

HEARTBEAT_INTERVAL_S = 1.0
LOST_AFTER_S = 5.0
"""Five missed heartbeats: long enough for an event loop that is busy for seconds, short enough for the promise that no
ghost stays longer than 5 s."""


class Process(Struct, frozen=True, kw_only=True):
    """The figures that every process has."""

    cpu_s: float  # user + system, since start
    rss_bytes: int
    open_fds: int
    max_fds: int
    loop_lag_s: float  # the most that the event loop was late since the last heartbeat
    uptime_s: float


class EdgeLoad(Struct, frozen=True, kw_only=True):
    """An edge's figures. `drain_left` counts the connections still to be closed, None if the edge is not draining."""

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


class EdgeMemory(Struct, frozen=True, kw_only=True):
    """The memory that an edge compares with its limits, and the lowest of these limits; 0: none."""

    used: int  # bytes, including the kernel's memory for its connections
    limit: int


class SessionsLoad(Struct, frozen=True, kw_only=True):
    """The sessions service's figures."""

    events_applied: int
    stream_sequence: int  # of the last batch that is in PostgreSQL
    lag_batches: int  # batches in the stream that are not in PostgreSQL yet


class Heartbeat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One heartbeat. `leaving` marks the last one of a process that shuts down in order.

    `has_room` is false while an edge is not ready for new clients, or is above one of its memory limits. `has_room` and
    `memory` are here, not among the edge's figures, so that the bytes of all other heartbeats stay the same.
    """

    service: str  # "edge", "sessions", "metrics"
    name: str  # its configured name, such as "edge-1"
    instance: str  # new at each start of a process
    version: str
    at: int  # Unix time, milliseconds
    process: Process
    edge: EdgeLoad | None = None
    sessions: SessionsLoad | None = None
    leaving: bool = False
    has_room: bool = True
    memory: EdgeMemory | None = None


encode_heartbeat = json.Encoder().encode
_decode_heartbeat = json.Decoder(Heartbeat).decode


def decode_heartbeat(data: bytes) -> Heartbeat:
    """The heartbeat in a message. Raises msgspec.DecodeError if it is not JSON in UTF-8, or not of this shape."""
    try:
        return _decode_heartbeat(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(str(error)) from None
