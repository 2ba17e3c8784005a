"""Every series that this service exposes: name, kind, unit, labels, meaning. A test checks that there are no others.

The names begin with `fairlead_cluster_`, which those of single processes do not, so that a sum never counts both. The
figures of each edge are here as well, by its name and across its restarts: dashboards need only one target.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["gauge", "counter"]


class Series(NamedTuple):
    """One series. The name of a counter lacks the `_total` that Prometheus shows."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str


_EDGE: Final = ("edge",)
_PROCESS: Final = ("service", "name")

CATALOG: Final[tuple[Series, ...]] = (
    # --- the whole
    Series("fairlead_cluster_edges", "gauge", "processes", (), "Edges that are alive."),
    Series("fairlead_cluster_edges_draining", "gauge", "processes", (), "Edges that are draining."),
    Series("fairlead_cluster_connections", "gauge", "connections", (), "Client connections of all edges."),
    Series("fairlead_cluster_subscriptions", "gauge", "subscriptions", (), "Subscriptions of all edges."),
    Series(
        "fairlead_cluster_drain_left",
        "gauge",
        "connections",
        (),
        "Connections that draining edges still have to close.",
    ),
    Series("fairlead_cluster_messages_in", "counter", "messages", (), "Commands from clients."),
    Series("fairlead_cluster_messages_out", "counter", "messages", (), "Messages to clients."),
    Series("fairlead_cluster_bytes_out", "counter", "bytes", (), "Bytes to clients."),
    Series("fairlead_cluster_publishes", "counter", "messages", (), "Publications taken."),
    Series("fairlead_cluster_accepted", "counter", "connections", (), "Connections accepted."),
    Series(
        "fairlead_cluster_imbalance_ratio",
        "gauge",
        "ratio",
        (),
        "Connections of the fullest edge, divided by the mean of the edges that do not drain; 1 is even.",
    ),
    Series(
        "fairlead_cluster_sessions_lag_batches",
        "gauge",
        "batches",
        (),
        "Batches of the session log that are not in PostgreSQL yet.",
    ),
    Series(
        "fairlead_cluster_sessions_sequence",
        "gauge",
        "sequence",
        (),
        "Last message of the session log that is in PostgreSQL.",
    ),
    Series("fairlead_cluster_sessions_events", "counter", "facts", (), "Session facts folded into PostgreSQL."),
    Series("fairlead_cluster_processes", "gauge", "processes", ("service",), "Processes that are alive, by service."),
    Series("fairlead_cluster_heartbeats", "counter", "messages", (), "Heartbeats heard."),
    Series("fairlead_cluster_heartbeats_rejected", "counter", "messages", (), "Messages that are not heartbeats."),
    # --- each edge
    Series("fairlead_cluster_edge_connections", "gauge", "connections", _EDGE, "Client connections."),
    Series("fairlead_cluster_edge_users", "gauge", "users", _EDGE, "Different users that are connected."),
    Series("fairlead_cluster_edge_channels", "gauge", "channels", _EDGE, "Channels with subscribers."),
    Series("fairlead_cluster_edge_subscriptions", "gauge", "subscriptions", _EDGE, "Subscriptions."),
    Series("fairlead_cluster_edge_draining", "gauge", "bool", _EDGE, "1 while it drains, otherwise 0."),
    Series(
        "fairlead_cluster_edge_drain_left", "gauge", "connections", _EDGE, "Connections that it still has to close."
    ),
    Series("fairlead_cluster_edge_messages_in", "counter", "messages", _EDGE, "Commands from clients."),
    Series("fairlead_cluster_edge_messages_out", "counter", "messages", _EDGE, "Messages to clients."),
    Series("fairlead_cluster_edge_bytes_out", "counter", "bytes", _EDGE, "Bytes to clients."),
    Series("fairlead_cluster_edge_publishes", "counter", "messages", _EDGE, "Publications taken."),
    Series("fairlead_cluster_edge_accepted", "counter", "connections", _EDGE, "Connections accepted."),
    # --- each process
    Series("fairlead_cluster_process_resident_bytes", "gauge", "bytes", _PROCESS, "Resident memory."),
    Series("fairlead_cluster_process_cpu_seconds", "counter", "seconds", _PROCESS, "CPU time, user and system."),
    Series("fairlead_cluster_process_loop_lag_seconds", "gauge", "seconds", _PROCESS, "How late its timer last fired."),
    Series("fairlead_cluster_process_open_fds", "gauge", "descriptors", _PROCESS, "Open file descriptors."),
    Series("fairlead_cluster_process_max_fds", "gauge", "descriptors", _PROCESS, "Descriptors that it may open."),
    Series("fairlead_cluster_process_uptime_seconds", "gauge", "seconds", _PROCESS, "Time since its start."),
)

BY_NAME: Final = {series.name: series for series in CATALOG}
