"""The series of history, capacity and forecast: what the metrics service works out beyond sums of heartbeats."""

from __future__ import annotations

from typing import Final

from services.chassis.metrics.series import catalog, counter, gauge

PLAN_SERIES: Final = catalog(
    gauge("fairlead_cluster_history_available", "bool", "1 while minutes are kept in PostgreSQL, otherwise 0."),
    gauge("fairlead_cluster_history_waiting", "minutes", "Minutes of edges that are not in PostgreSQL yet."),
    counter("fairlead_cluster_history_written", "minutes", "Minutes of edges written to PostgreSQL."),
    counter(
        "fairlead_cluster_history_dropped",
        "minutes",
        "Minutes of edges lost because PostgreSQL was unavailable for too long.",
    ),
)
