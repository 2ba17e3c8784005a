"""How full JetStream is, stream by stream, and whether it answers: the series of `STORE_SERIES`."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.chassis.metrics.page import Page
from services.chassis.metrics.series import catalog, gauge

MAX_STREAMS: Final = 1000
"""How many streams have series of their own, the fullest first."""

STORE_SERIES: Final = catalog(
    gauge("fairlead_cluster_store_answers", "bool", "1 while JetStream answers this service, otherwise 0."),
    gauge("fairlead_cluster_store_used_bytes", "bytes", "What JetStream has stored for the account."),
    gauge(
        "fairlead_cluster_store_limit_bytes",
        "bytes",
        "What JetStream may store: the limit of the account, or else the sum of the streams' limits. It counts "
        "each replica, as the used bytes do.",
    ),
    gauge("fairlead_cluster_stream_bytes", "bytes", "Size of a stream.", "stream"),
    gauge(
        "fairlead_cluster_stream_limit_bytes", "bytes", "The most that a stream may store, if it has a limit.", "stream"
    ),
    gauge(
        "fairlead_cluster_stream_refuses",
        "bool",
        "1 if a full stream refuses new messages; 0 if it drops its oldest ones.",
        "stream",
    ),
    gauge("fairlead_cluster_stream_messages", "messages", "Messages in a stream.", "stream"),
    gauge(
        "fairlead_cluster_stream_replicas_current",
        "servers",
        "Servers that have all of a stream, including its leader; 0 without a leader.",
        "stream",
    ),
    gauge("fairlead_cluster_stream_replicas", "servers", "Servers that should have a stream.", "stream"),
    gauge(
        "fairlead_cluster_streams_unanswered",
        "streams",
        "Streams whose servers do not answer, in a NATS cluster.",
    ),
)


class Stream(Struct, frozen=True):
    """One stream. `limit_bytes` is None without a limit."""

    name: str
    used_bytes: int
    limit_bytes: int | None
    messages: int
    refuses_when_full: bool = False
    replicas: int = 1
    replicas_current: int = 1


class Store(Struct, frozen=True):
    """JetStream at one moment. `limit_bytes` is the account's, None without one."""

    used_bytes: int
    limit_bytes: int | None
    streams: list[Stream]
    unanswered: int = 0

    @property
    def room_bytes(self) -> int | None:
        """What may be stored, None if nothing limits it."""
        if self.limit_bytes is not None:
            return self.limit_bytes
        limits = [stream.limit_bytes and stream.limit_bytes * stream.replicas for stream in self.streams]
        return None if None in limits or not limits else sum(limit for limit in limits if limit is not None)


class StoreMetrics:
    """The store as last seen; `seen(None)` means that it did not answer, and that its earlier answers no longer
    count."""

    def __init__(self) -> None:
        self._store: Store | None = None

    def seen(self, store: Store | None) -> None:
        """Takes the answer of JetStream, or that there was none."""
        self._store = store

    def fill(self, page: Page) -> None:
        """Puts the values of `STORE_SERIES`."""
        store = self._store
        page.put("fairlead_cluster_store_answers", store is not None)
        if store is None:
            return
        page.put("fairlead_cluster_store_used_bytes", store.used_bytes)
        if store.room_bytes is not None:
            page.put("fairlead_cluster_store_limit_bytes", store.room_bytes)
        page.put("fairlead_cluster_streams_unanswered", store.unanswered)
        for stream in sorted(store.streams, key=lambda one: -one.used_bytes)[:MAX_STREAMS]:
            page.put("fairlead_cluster_stream_bytes", stream.used_bytes, stream.name)
            if stream.limit_bytes is not None:
                page.put("fairlead_cluster_stream_limit_bytes", stream.limit_bytes, stream.name)
            page.put("fairlead_cluster_stream_refuses", stream.refuses_when_full, stream.name)
            page.put("fairlead_cluster_stream_messages", stream.messages, stream.name)
            page.put("fairlead_cluster_stream_replicas", stream.replicas, stream.name)
            page.put("fairlead_cluster_stream_replicas_current", stream.replicas_current, stream.name)
