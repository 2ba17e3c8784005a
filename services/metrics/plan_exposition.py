"""History, capacity and forecast as Prometheus series, under the names of the catalogue."""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.metrics.page import Page
from services.metrics.answers import forecast_errors
from services.metrics.capacity.headroom import Capacity
from services.metrics.capacity.laws import RESOURCES
from services.metrics.forecasting.outlook import WITHIN_H, Outlook, Range
from services.metrics.planner import Planner
from services.metrics.recorder import Recorder


class PlanMetrics:
    """Reads the parts at each scrape. `now` returns Unix time in seconds; without a history `recorder` is None."""

    def __init__(self, planner: Planner, recorder: Recorder | None, now: Callable[[], float]) -> None:
        self._planner = planner
        self._recorder = recorder
        self._now = now
        self.failures = 0

    def count_failure(self) -> None:
        """Counts a forecast that could not be made."""
        self.failures += 1

    def fill(self, page: Page) -> None:
        """Puts the values of `plan_catalog.PLAN_SERIES`. Unknown figures have no value."""
        self._put_history(page)
        page.put("fairlead_cluster_capacity_levels", self._planner.levels)
        page.put("fairlead_cluster_capacity_max_edges", self._planner.most_edges)
        if self._planner.capacity is not None:
            self._put_capacity(page, self._planner.capacity)
        if self._planner.recommended is not None:
            page.put("fairlead_cluster_recommended_edges", self._planner.recommended)
        now = self._now()
        outlook = self._planner.outlook(now)
        page.put("fairlead_cluster_forecast_available", outlook is not None)
        page.put("fairlead_cluster_forecast_failures", self.failures)
        if outlook is not None:
            self._put_outlook(page, outlook, now)

    def _put_history(self, page: Page) -> None:
        recorder = self._recorder
        page.put("fairlead_cluster_history_available", recorder is not None and recorder.problem is None)
        page.put("fairlead_cluster_history_waiting", recorder.waiting if recorder is not None else 0)
        page.put("fairlead_cluster_history_written", recorder.written if recorder is not None else 0)
        page.put("fairlead_cluster_history_dropped", recorder.dropped if recorder is not None else 0)

    def _put_capacity(self, page: Page, capacity: Capacity) -> None:
        if capacity.connections is not None:
            page.put("fairlead_cluster_capacity_headroom_connections", capacity.connections)
        page.put("fairlead_cluster_capacity_needed_edges", capacity.needed)
        for resource in RESOURCES:
            page.put("fairlead_cluster_capacity_binding", resource == capacity.binding, resource)
            law, limit = self._planner.laws[resource], self._planner.limits.get(resource)
            page.put("fairlead_cluster_capacity_fit_quality_ratio", law.quality, resource)
            if limit:
                page.put("fairlead_cluster_capacity_fit_error_ratio", law.error / limit, resource)
                page.put("fairlead_cluster_capacity_seen_ratio", law.highest / limit, resource)
        for resource, room in capacity.by_resource.items():
            page.put("fairlead_cluster_capacity_resource_headroom_connections", room, resource)
        for one in capacity.edges:
            if one.connections is not None:
                page.put("fairlead_cluster_capacity_edge_headroom_connections", one.connections, one.edge)
            for resource, share in one.used.items():
                page.put("fairlead_cluster_capacity_edge_used_ratio", share, one.edge, resource)

    def _put_outlook(self, page: Page, outlook: Outlook, now: float) -> None:
        for within in WITHIN_H:
            hours, label = outlook.hours[:within], f"{within}h"
            _put_highest(page, "fairlead_cluster_forecast_edges", [one.edges for one in hours], label)
            connections = [one.connections for one in hours if one.connections is not None]
            _put_highest(page, "fairlead_cluster_forecast_connections", connections, label)
            most = max((one.edges.high for one in hours), default=0.0)
            page.put("fairlead_cluster_forecast_recommended_edges", self._planner.bounded(most), label)
        for label, chance in outlook.chance_out.items():
            page.put("fairlead_cluster_forecast_exhaustion_ratio", chance, label)
        for label, at in outlook.out_at.items():
            if at is not None:
                page.put("fairlead_cluster_forecast_exhaustion_seconds", max(0.0, at - now), label)
        if self._planner.answer is not None:
            for method, error in zip(("forecast", "naive"), forecast_errors(self._planner.answer), strict=True):
                if error is not None:
                    page.put("fairlead_cluster_forecast_error_ratio", error, method)


def _put_highest(page: Page, name: str, ranges: list[Range], within: str) -> None:
    if ranges:
        page.put(name, max(one.expected for one in ranges), within, "expected")
        page.put(name, max(one.high for one in ranges), within, "high")
