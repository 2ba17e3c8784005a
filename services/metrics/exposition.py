"""The figures of the aggregator as Prometheus series, under the names in `catalog`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from proto.telemetry import Heartbeat
from services.chassis.metrics.page import Page
from services.metrics.aggregator import EDGE_COUNTERS, Aggregator, edge_loads, imbalance, sessions_load

_EDGE_GAUGES = ("connections", "users", "channels", "subscriptions")


class ClusterMetrics:
    """Reads the aggregator at each scrape. `now` is its clock; `heartbeats` and `rejected` are counters."""

    def __init__(self, aggregator: Aggregator, now: Callable[[], float]) -> None:
        self._aggregator = aggregator
        self._now = now
        self.heartbeats = 0
        self.rejected = 0

    def fill(self, page: Page) -> None:
        """Puts the values of `catalog.CLUSTER_SERIES`."""
        beats = self._aggregator.alive(self._now())
        self._put_whole(page, beats)
        self._put_edges(page, beats)
        self._put_processes(page, beats)

    def _put_whole(self, page: Page, beats: list[Heartbeat]) -> None:
        edges = edge_loads(beats)
        page.put("fairlead_cluster_edges", len(edges))
        page.put("fairlead_cluster_edges_draining", sum(load.drain_left is not None for _, load in edges))
        page.put("fairlead_cluster_edges_lost", self._aggregator.edges_lost)
        page.put_histogram("fairlead_cluster_drain_seconds", self._aggregator.drains.seconds)
        page.put("fairlead_cluster_drains_lost", self._aggregator.drains.lost)
        page.put("fairlead_cluster_connections", sum(load.connections for _, load in edges))
        page.put("fairlead_cluster_subscriptions", sum(load.subscriptions for _, load in edges))
        page.put("fairlead_cluster_drain_left", sum(load.drain_left or 0 for _, load in edges))
        page.put("fairlead_cluster_imbalance_ratio", imbalance(beats))
        for name in EDGE_COUNTERS:
            page.put(f"fairlead_cluster_{name}", self._aggregator.whole[f"edge_{name}"])
        page.put("fairlead_cluster_sessions_events", self._aggregator.whole["sessions_events_applied"])
        sessions = sessions_load(beats)
        if sessions is not None:
            page.put("fairlead_cluster_sessions_lag_batches", sessions.lag_batches)
            page.put("fairlead_cluster_sessions_sequence", sessions.stream_sequence)
        for service, count in sorted(Counter(beat.service for beat in beats).items()):
            page.put("fairlead_cluster_processes", count, service)
        page.put("fairlead_cluster_heartbeats", self.heartbeats)
        page.put("fairlead_cluster_heartbeats_rejected", self.rejected)

    def _put_edges(self, page: Page, beats: list[Heartbeat]) -> None:
        loads = edge_loads(beats)
        for edge in dict.fromkeys(name for name, _ in loads):  # an edge that restarts has two processes for a moment
            own = [load for name, load in loads if name == edge]
            for name in _EDGE_GAUGES:
                page.put(f"fairlead_cluster_edge_{name}", sum(getattr(load, name) for load in own), edge)
            page.put("fairlead_cluster_edge_draining", any(load.drain_left is not None for load in own), edge)
            page.put("fairlead_cluster_edge_drain_left", sum(load.drain_left or 0 for load in own), edge)
        for (service, edge), counts in self._aggregator.by_name.items():
            if service == "edge":
                for name in EDGE_COUNTERS:
                    page.put(f"fairlead_cluster_edge_{name}", counts[name], edge)

    def _put_processes(self, page: Page, beats: list[Heartbeat]) -> None:
        for key in dict.fromkeys((beat.service, beat.name) for beat in beats):
            own = [beat.process for beat in beats if (beat.service, beat.name) == key]
            page.put("fairlead_cluster_process_resident_bytes", sum(one.rss_bytes for one in own), *key)
            page.put("fairlead_cluster_process_loop_lag_seconds", max(one.loop_lag_s for one in own), *key)
            page.put("fairlead_cluster_process_open_fds", sum(one.open_fds for one in own), *key)
            page.put("fairlead_cluster_process_max_fds", sum(one.max_fds for one in own), *key)
            page.put("fairlead_cluster_process_uptime_seconds", max(one.uptime_s for one in own), *key)
        for key, counts in self._aggregator.by_name.items():
            page.put("fairlead_cluster_process_cpu_seconds", counts["cpu_s"], *key)
