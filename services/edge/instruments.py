"""The edge's own metrics: its counters, read when Prometheus asks. No label is unbounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proto import codes
from services.chassis.process.resources import OwnProcess, ProcessCollector
from services.edge.broker.in_flight import InFlight
from services.edge.connection.context import EdgeContext
from services.edge.connection.drain import Drain
from services.edge.framing.wire import ABNORMAL, NO_STATUS
from services.edge.session_log import SessionLog

_COUNTERS = {
    "accepted": "Connections upgraded to a WebSocket",
    "messages_in": "Commands received from clients",
    "messages_out": "Replies and pushes written to clients",
    "bytes_out": "Bytes of frames written to clients",
    "publishes": "Publications acknowledged by the broker",
    "gaps": "Gaps in live messages that the edge found and filled from the log",
    "holes": "Gaps that the edge could not fill, as the log had evicted what was missing",
    "log_reads": "Reads of a channel's log for clients that recover or catch up",
    "log_parts_shared": "Parts of logs that such clients got without a read of their own",
    "syncs": "Reads of a channel's log, to fill a gap or to prove that there is none",
    "broker_losses": "Connections to NATS that dropped, for example because the edge reads too slowly",
    "recovered": "Subscriptions that recovered everything they had missed",
    "unrecovered": "Subscriptions that could not recover everything they had missed",
    "recovered_publications": "Publications sent by recoveries",
    "lagged": "Times that a client became a slow consumer",
    "caught_up": "Times that a slow consumer caught up",
    "dropped": "Publications without history that slow consumers lost",
    "fan_out_dropped": "Publications without history that came faster than the edge could write them to subscribers",
    "waits": "Times that a client had sent more than one turn of the event loop allows, and the rest waited",
    "left_out": "Publications left out for JSON clients because they are not JSON, or nest too deep; for each client",
    "api_calls": "Calls of the server API, over HTTP and NATS",
    "api_turned_away": "Calls of the server API that were refused because too many were in progress",
}

_KNOWN_CLOSES = frozenset(
    [code.code for code in vars(codes).values() if isinstance(code, codes.CloseCode)] + [NO_STATUS, ABNORMAL, 1011]
)


class EdgeCollector(Collector):
    """Makes Prometheus metrics of the edge's state and counters."""

    def __init__(
        self,
        context: EdgeContext,
        drain: Drain,
        session_log: SessionLog,
        in_flight: InFlight,
        loop_lag_s: Callable[[], float],
    ) -> None:
        self._context = context
        self._drain = drain
        self._session_log = session_log
        self._in_flight = in_flight
        self._loop_lag_s = loop_lag_s

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        context, tally = self._context, self._context.tally
        for name, meaning in _COUNTERS.items():
            yield CounterMetricFamily(f"fairlead_edge_{name}", meaning, value=getattr(tally, name))
        gauges = {
            "connections": ("Open connections", len(context.registry)),
            "http_streams": ("Open connections that are HTTP streams or SSE", context.registry.streams),
            "users": ("Users with a connection here", context.registry.users),
            "channels": ("Channels open here", len(context.node.channels)),
            "subscriptions": ("Subscriptions of all connections", context.node.subscriptions),
            "ready": ("1 while the edge is ready for clients", int(context.admission.unready() is None)),
            "draining": ("1 while the edge drains", int(context.admission.draining)),
            "drain_left": ("Connections that a drain still has to close", self._drain.left or 0),
            "loop_lag_seconds": ("Lateness of the event loop's last timer", self._loop_lag_s()),
            "publishes_in_flight": ("Publishes that wait for JetStream's acknowledgement", self._in_flight.count),
            "publishes_waiting": ("Publishes that wait behind those in flight", self._in_flight.waiting),
            "log_parts_bytes": ("Parts of logs kept for clients that catch up", context.node.parts.kept_bytes),
            "fan_out_waiting_bytes": ("Batches that wait to be written", context.node.channels.pace.waiting_bytes),
            "session_events_waiting": ("Session events not yet stored", self._session_log.waiting),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(f"fairlead_edge_{name}", meaning, value=value)
        refused = "Publishes answered with error 100 because too many others were in flight"
        yield CounterMetricFamily("fairlead_edge_publishes_refused", refused, value=self._in_flight.refused)
        stored = "Session events acknowledged by JetStream"
        yield CounterMetricFamily("fairlead_edge_session_events", stored, value=self._session_log.stored)
        dropped = "Session events dropped because NATS was unavailable for too long"
        yield CounterMetricFamily("fairlead_edge_session_events_dropped", dropped, value=self._session_log.dropped)
        closes = CounterMetricFamily(
            "fairlead_edge_closes", "Connections ended, by WebSocket close code", labels=["code"]
        )
        by_label: Counter[str] = Counter()
        for code, count in tally.closes.items():  # a peer may send any code of 3000-4999
            by_label[str(code) if code in _KNOWN_CLOSES else "other"] += count
        for label, count in by_label.items():
            closes.add_metric([label], count)
        yield closes
        errors = CounterMetricFamily("fairlead_edge_errors", "Error replies, by code", labels=["code"])
        for code, count in tally.errors.items():
            errors.add_metric([str(code)], count)
        yield errors
        limited = CounterMetricFamily("fairlead_edge_limited", "What limits refused, by limit", labels=["limit"])
        for limit, count in (context.policy.allowances.refused | context.door.refused).items():
            limited.add_metric([limit], count)
        yield limited


def make_registry(collector: Collector) -> CollectorRegistry:
    """A registry with the edge's metrics and the process's own (memory, CPU, descriptors, garbage collection)."""
    registry = CollectorRegistry()
    for each in (PlatformCollector, GCCollector):
        each(registry=registry)
    registry.register(ProcessCollector(OwnProcess()))
    registry.register(collector)
    return registry
