"""History, capacity and forecast as Prometheus series, under the names of the catalogue."""

from __future__ import annotations

from services.chassis.metrics.page import Page
from services.metrics.recorder import Recorder


class PlanMetrics:
    """Reads the parts at each scrape. Without a history (`recorder` is None) its series say so."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    def fill(self, page: Page) -> None:
        """Puts the values of `plan_catalog.PLAN_SERIES`."""
        recorder = self._recorder
        page.put("fairlead_cluster_history_available", recorder is not None and recorder.problem is None)
        page.put("fairlead_cluster_history_waiting", recorder.waiting if recorder is not None else 0)
        page.put("fairlead_cluster_history_written", recorder.written if recorder is not None else 0)
        page.put("fairlead_cluster_history_dropped", recorder.dropped if recorder is not None else 0)
