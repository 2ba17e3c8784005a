"""The series of history, capacity and forecast: what the metrics service computes besides sums of heartbeats."""

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
    gauge(
        "fairlead_cluster_capacity_headroom_connections",
        "connections",
        "How many more connections the edges can take, at the present mix of load.",
    ),
    gauge(
        "fairlead_cluster_capacity_resource_headroom_connections",
        "connections",
        "How many more connections the edges could take if only this resource were limited. The smallest value binds.",
        "resource",
    ),
    gauge(
        "fairlead_cluster_capacity_binding",
        "bool",
        "1 for the resource that runs out first, 0 for the others.",
        "resource",
    ),
    gauge(
        "fairlead_cluster_capacity_fit_quality_ratio",
        "ratio",
        "R² of the law for this resource: the share of its variation that the load explains.",
        "resource",
    ),
    gauge(
        "fairlead_cluster_capacity_fit_error_ratio",
        "ratio",
        "Root mean square error of the law for this resource, as a share of an edge's limit.",
        "resource",
    ),
    gauge(
        "fairlead_cluster_capacity_seen_ratio",
        "ratio",
        "The largest use of this resource that the law was fitted to, as a share of an edge's limit: "
        "far below 1 the headroom is an extrapolation.",
        "resource",
    ),
    gauge("fairlead_cluster_capacity_levels", "levels", "Different levels of load that the laws are fitted to."),
    gauge(
        "fairlead_cluster_capacity_needed_edges",
        "processes",
        "Edges that the present load needs within the limits, not rounded.",
    ),
    gauge(
        "fairlead_cluster_capacity_edge_headroom_connections",
        "connections",
        "How many more connections this edge can take.",
        "edge",
    ),
    gauge(
        "fairlead_cluster_capacity_edge_used_ratio",
        "ratio",
        "The use of this resource by this edge, as a share of its limit.",
        "edge",
        "resource",
    ),
    gauge("fairlead_cluster_recommended_edges", "processes", "Edges to run now."),
    gauge("fairlead_cluster_capacity_max_edges", "processes", "The most edges to recommend: `capacity.max_edges`."),
    gauge("fairlead_cluster_forecast_available", "bool", "1 while there is a fresh forecast, otherwise 0."),
    gauge(
        "fairlead_cluster_forecast_edges",
        "processes",
        "The highest demand within this time, in edges, not rounded: expected, and at the configured certainty.",
        "within",
        "bound",
    ),
    gauge(
        "fairlead_cluster_forecast_connections",
        "connections",
        "The most connections within this time: expected, and at the configured certainty.",
        "within",
        "bound",
    ),
    gauge(
        "fairlead_cluster_forecast_recommended_edges",
        "processes",
        "The most edges to run within this time.",
        "within",
    ),
    gauge(
        "fairlead_cluster_forecast_exhaustion_ratio",
        "ratio",
        "The probability that within this time the load needs more edges than take clients now.",
        "within",
    ),
    gauge(
        "fairlead_cluster_forecast_exhaustion_seconds",
        "seconds",
        "Time until the probability of that reaches this chance; absent if it does not.",
        "chance",
    ),
    gauge(
        "fairlead_cluster_forecast_error_ratio",
        "ratio",
        "Mean absolute error of forecasts for one day, in the last weeks, as a share of the mean: of this forecast, "
        "and of a repetition of the week before.",
        "method",
    ),
    counter("fairlead_cluster_forecast_failures", "forecasts", "Forecasts that could not be made."),
)
