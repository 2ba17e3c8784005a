"""Puts the edge's state and counters on the page that Prometheus reads."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import product
from typing import Final

from proto import codes
from services.chassis.metrics.page import Page
from services.chassis.process.resources import OwnProcess
from services.edge.broker.broker_clock import BrokerClock
from services.edge.broker.in_flight import InFlight
from services.edge.connection.client_labels import EXPECTED_CLIENTS
from services.edge.connection.context import EdgeContext
from services.edge.connection.drain import Drain
from services.edge.connection.memory_watch import MemoryWatch
from services.edge.framing.wire import ABNORMAL, NO_STATUS
from services.edge.instruments.failures import EDGE_ERRORS, shown, with_zeros
from services.edge.instruments.memory_parts import put_memory
from services.edge.session_log import SessionLog
from services.edge.tally import BY_CLIENT, BY_NAMESPACE, COUNTERS

_KNOWN_CLOSES: Final = frozenset(
    [code.code for code in vars(codes).values() if isinstance(code, codes.CloseCode)] + [NO_STATUS, ABNORMAL, 1011]
)

TIMED_FROM_START: Final = 20
"""Namespaces whose histograms exist before anything happens in them. One has up to 72 lines, and a line takes 5 us: a
hundred unused namespaces would hold up the event loop for 36 ms at each scrape."""


class EdgeMetrics:
    """Reads the parts of an edge at each scrape; the cost does not grow with its connections.

    `broker_clock` is None without NATS.
    """

    def __init__(
        self,
        context: EdgeContext,
        memory: MemoryWatch,
        drain: Drain,
        session_log: SessionLog,
        in_flight: InFlight,
        broker_clock: BrokerClock | None = None,
    ) -> None:
        self._context = context
        self._memory = memory
        self._broker_clock = broker_clock
        self._started_after_s = 0.0
        self._drain = drain
        self._session_log = session_log
        self._in_flight = in_flight
        self.begin_times()

    def ready(self) -> None:
        """The edge is ready for clients for the first time."""
        self._started_after_s = time.time() - OwnProcess().started_at

    def fill(self, page: Page) -> None:
        """Puts the values of `catalog.EDGE_SERIES`."""
        self._put_state(page)
        put_memory(page, self._context, self._memory)
        self._put_counters(page)
        self._put_by_label(page)
        self._put_times(page)

    def _put_state(self, page: Page) -> None:
        context, in_flight = self._context, self._in_flight
        gauges: dict[str, float] = {
            "connections": len(context.registry),
            "http_streams": context.registry.streams,
            "users": context.registry.users,
            "channels": len(context.node.channels),
            "subscriptions": context.node.subscriptions,
            "ready": context.admission.unready() is None,
            "draining": context.admission.draining,
            "drain_left": self._drain.left or 0,
            "publishes_in_flight": in_flight.count,
            "publishes_waiting": in_flight.waiting,
            "log_parts_bytes": context.node.parts.kept_bytes,
            "fan_out_waiting_bytes": context.node.channels.pace.waiting_bytes,
            "session_events_waiting": self._session_log.waiting,
            "slow_clients": len(context.registry.stalled),
        }
        for name, value in gauges.items():
            page.put(f"fairlead_edge_{name}", value)

    def _put_counters(self, page: Page) -> None:
        tally = self._context.tally
        for name in COUNTERS:
            page.put(f"fairlead_edge_{name}", getattr(tally, name))
        page.put("fairlead_edge_recovered", tally.recovered)
        page.put("fairlead_edge_unrecovered", tally.unrecovered)
        page.put("fairlead_edge_publishes_refused", self._in_flight.refused)
        page.put("fairlead_edge_session_events", self._session_log.stored)
        page.put("fairlead_edge_session_events_dropped", self._session_log.dropped)

    def _put_by_label(self, page: Page) -> None:
        context = self._context
        by_code: Counter[str] = Counter()
        for code, count in context.tally.closes.items():  # a peer may send any code of 3000-4999
            by_code[str(code) if code in _KNOWN_CLOSES else "other"] += count
        for label, count in by_code.items():
            page.put("fairlead_edge_closes", count, label)
        errors = Counter({str(code): 0 for code in EDGE_ERRORS})
        for code, count in context.tally.errors.items():  # backends may answer with any code
            errors[shown(code)] += count
        for label, count in errors.items():
            page.put("fairlead_edge_errors", count, label)
        for limit, count in (context.policy.allowances.refused | context.door.refused).items():
            page.put("fairlead_edge_limited", count, limit)
        with_history = context.policy.namespaces.with_history
        results = product(with_history, ("recovered", "unrecovered"))
        for labels, count in with_zeros(results, context.tally.recoveries).items():
            page.put("fairlead_edge_recoveries", count, *labels)
        for client, count in context.tally.recoveries_by_client.items():
            page.put("fairlead_edge_recoveries_by_client", count, *client)
        for name in BY_NAMESPACE:
            for namespace, count in with_zeros(with_history, getattr(context.tally, name)).items():
                page.put(f"fairlead_edge_{name}", count, namespace)
        for name in BY_CLIENT:
            for labels, count in with_zeros(EXPECTED_CLIENTS, getattr(context.tally, name)).items():
                page.put(f"fairlead_edge_{name}", count, *labels)

    def _put_times(self, page: Page) -> None:
        context, clock = self._context, self._broker_clock
        timings = context.tally.timings
        page.put_histograms("fairlead_edge_connect_seconds", timings.connect_seconds)
        page.put_histograms("fairlead_edge_subscribe_seconds", timings.subscribe_seconds)
        page.put_histograms("fairlead_edge_recovery_seconds", timings.recovery_seconds)
        page.put_histograms("fairlead_edge_recovery_publications", timings.recovery_publications)
        page.put_histograms("fairlead_edge_delivery_seconds", context.node.channels.delivery_times.histograms)
        if clock is not None and clock.offset_s is not None and clock.error_s is not None:
            page.put("fairlead_edge_clock_offset_seconds", clock.offset_s)
            page.put("fairlead_edge_clock_error_seconds", clock.error_s)
        began_at = self._drain.began_at
        stopping = 0.0 if began_at is None else asyncio.get_running_loop().time() - began_at
        page.put("fairlead_edge_drain_seconds", stopping)
        page.put("websocket_active_connections", len(context.registry))
        page.put_histogram("websocket_connection_duration_seconds", timings.connection_duration_seconds)
        page.put("websocket_start_seconds", self._started_after_s)
        page.put("websocket_stop_seconds", stopping)

    def begin_times(self) -> None:
        """Makes histograms with zeros for all labels that are known, so that the first observation is an increase."""
        timings = self._context.tally.timings
        deliveries = self._context.node.channels.delivery_times.histograms
        for client in EXPECTED_CLIENTS:
            timings.connect_seconds.of(*client)
        namespaces = self._context.policy.namespaces
        for namespace in namespaces.names()[:TIMED_FROM_START]:
            timings.subscribe_seconds.of(namespace)
            deliveries.of(namespace)
        for namespace in namespaces.with_history[:TIMED_FROM_START]:
            timings.recovery_seconds.of(namespace)
            timings.recovery_publications.of(namespace)
