"""The figures of the aggregator as Prometheus series, under the names of the catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proto.telemetry import Heartbeat
from services.metrics.aggregator import EDGE_COUNTERS, Aggregator, edge_loads, imbalance, sessions_load
from services.metrics.catalog import BY_NAME, CATALOG

_PREFIX = "fairlead_cluster_"
_EDGE_GAUGES = ("connections", "users", "channels", "subscriptions")


class _Page:
    """One scrape: every series of the catalog with its samples."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        for series in CATALOG:
            family = GaugeMetricFamily if series.kind == "gauge" else CounterMetricFamily
            self._families[series.name] = family(series.name, series.meaning, labels=series.labels)

    def put(self, name: str, value: float, *labels: str) -> None:
        family = self._families[_PREFIX + name]
        suffix = "_total" if BY_NAME[_PREFIX + name].kind == "counter" else ""
        names = BY_NAME[_PREFIX + name].labels
        family.add_sample(_PREFIX + name + suffix, dict(zip(names, labels, strict=True)), value)

    def families(self) -> Iterable[Metric]:
        return self._families.values()


class ClusterCollector(Collector):
    """All series, made at each scrape. `now` is the aggregator's clock; `heartbeats` and `rejected` are counters."""

    def __init__(self, aggregator: Aggregator, now: Callable[[], float]) -> None:
        self._aggregator = aggregator
        self._now = now
        self.heartbeats = 0
        self.rejected = 0

    def collect(self) -> Iterator[Metric]:
        """All series, with samples."""
        page = _Page()
        beats = self._aggregator.alive(self._now())
        self._put_whole(page, beats)
        self._put_edges(page, beats)
        self._put_processes(page, beats)
        yield from page.families()

    def describe(self) -> Iterator[Metric]:
        """All series, without samples."""
        yield from _Page().families()

    def _put_whole(self, page: _Page, beats: list[Heartbeat]) -> None:
        edges = edge_loads(beats)
        page.put("edges", len(edges))
        page.put("edges_draining", sum(load.drain_left is not None for _, load in edges))
        page.put("connections", sum(load.connections for _, load in edges))
        page.put("subscriptions", sum(load.subscriptions for _, load in edges))
        page.put("drain_left", sum(load.drain_left or 0 for _, load in edges))
        page.put("imbalance_ratio", imbalance(beats))
        for name in EDGE_COUNTERS:
            page.put(name, self._aggregator.whole[f"edge_{name}"])
        page.put("sessions_events", self._aggregator.whole["sessions_events_applied"])
        sessions = sessions_load(beats)
        if sessions is not None:
            page.put("sessions_lag_batches", sessions.lag_batches)
            page.put("sessions_sequence", sessions.stream_sequence)
        for service, count in sorted(Counter(beat.service for beat in beats).items()):
            page.put("processes", count, service)
        page.put("heartbeats", self.heartbeats)
        page.put("heartbeats_rejected", self.rejected)

    def _put_edges(self, page: _Page, beats: list[Heartbeat]) -> None:
        loads = edge_loads(beats)
        for edge in dict.fromkeys(name for name, _ in loads):  # an edge that restarts has two processes for a moment
            own = [load for name, load in loads if name == edge]
            for name in _EDGE_GAUGES:
                page.put(f"edge_{name}", sum(getattr(load, name) for load in own), edge)
            page.put("edge_draining", any(load.drain_left is not None for load in own), edge)
            page.put("edge_drain_left", sum(load.drain_left or 0 for load in own), edge)
        for (service, edge), counts in self._aggregator.by_name.items():
            if service == "edge":
                for name in EDGE_COUNTERS:
                    page.put(f"edge_{name}", counts[name], edge)

    def _put_processes(self, page: _Page, beats: list[Heartbeat]) -> None:
        for key in dict.fromkeys((beat.service, beat.name) for beat in beats):
            own = [beat.process for beat in beats if (beat.service, beat.name) == key]
            page.put("process_resident_bytes", sum(one.rss_bytes for one in own), *key)
            page.put("process_loop_lag_seconds", max(one.loop_lag_s for one in own), *key)
            page.put("process_open_fds", sum(one.open_fds for one in own), *key)
            page.put("process_max_fds", sum(one.max_fds for one in own), *key)
            page.put("process_uptime_seconds", max(one.uptime_s for one in own), *key)
        for key, counts in self._aggregator.by_name.items():
            page.put("process_cpu_seconds", counts["cpu_s"], *key)
