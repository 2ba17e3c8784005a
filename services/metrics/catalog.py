"""Every series that this service exposes: name, kind, unit, labels, meaning. A test checks that there are no others.

The names begin with `fairlead_cluster_`, unlike those of single processes, so that a sum never counts both. The figures
of each edge are also here, by its name and across its restarts, so that dashboards need only one target.
"""

from __future__ import annotations

from typing import Final

from services.chassis.metrics.series import catalog, counter, gauge, histogram
from services.metrics.drains import BOUNDS_S

CLUSTER_SERIES: Final = catalog(
    gauge("fairlead_cluster_edges", "processes", "Edges that are alive."),
    gauge("fairlead_cluster_edges_draining", "processes", "Edges that are draining."),
    counter(
        "fairlead_cluster_edges_lost",
        "edges",
        "Edges that fell silent for 5 s without a last heartbeat: killed, hung or cut off.",
    ),
    histogram(
        "fairlead_cluster_drain_seconds",
        "seconds",
        BOUNDS_S,
        "Time from the first heartbeat of a draining edge to its last one, after which the edge ends; up to a second "
        "shorter than the drain.",
    ),
    counter(
        "fairlead_cluster_drains_lost",
        "edges",
        "Edges that fell silent for 5 s while they drained, without a last heartbeat: killed or hung.",
    ),
    gauge("fairlead_cluster_connections", "connections", "Client connections of all edges."),
    gauge("fairlead_cluster_subscriptions", "subscriptions", "Subscriptions of all edges."),
    gauge("fairlead_cluster_drain_left", "connections", "Connections that draining edges still have to close."),
    counter("fairlead_cluster_messages_in", "messages", "Commands from clients."),
    counter("fairlead_cluster_messages_out", "messages", "Messages to clients."),
    counter("fairlead_cluster_bytes_out", "bytes", "Bytes to clients."),
    counter("fairlead_cluster_publishes", "messages", "Publications accepted."),
    counter("fairlead_cluster_accepted", "connections", "Connections accepted."),
    gauge(
        "fairlead_cluster_imbalance_ratio",
        "ratio",
        "Connections of the fullest edge, divided by the mean of the edges that do not drain; 1 is even.",
    ),
    gauge(
        "fairlead_cluster_sessions_lag_batches",
        "batches",
        "Batches of the session log that are not in PostgreSQL yet.",
    ),
    gauge("fairlead_cluster_sessions_sequence", "sequence", "Last message of the session log that is in PostgreSQL."),
    counter("fairlead_cluster_sessions_events", "facts", "Session facts folded into PostgreSQL."),
    gauge("fairlead_cluster_processes", "processes", "Processes that are alive, by service.", "service"),
    counter("fairlead_cluster_heartbeats", "messages", "Heartbeats heard."),
    counter("fairlead_cluster_heartbeats_rejected", "messages", "Messages that are not heartbeats."),
    gauge("fairlead_cluster_edge_connections", "connections", "Client connections.", "edge"),
    gauge("fairlead_cluster_edge_users", "users", "Different users that are connected.", "edge"),
    gauge("fairlead_cluster_edge_channels", "channels", "Channels with subscribers.", "edge"),
    gauge("fairlead_cluster_edge_subscriptions", "subscriptions", "Subscriptions.", "edge"),
    gauge("fairlead_cluster_edge_draining", "bool", "1 while the edge drains, otherwise 0.", "edge"),
    gauge(
        "fairlead_cluster_edge_drain_left",
        "connections",
        "Connections that a draining edge still has to close.",
        "edge",
    ),
    counter("fairlead_cluster_edge_messages_in", "messages", "Commands from clients.", "edge"),
    counter("fairlead_cluster_edge_messages_out", "messages", "Messages to clients.", "edge"),
    counter("fairlead_cluster_edge_bytes_out", "bytes", "Bytes to clients.", "edge"),
    counter("fairlead_cluster_edge_publishes", "messages", "Publications taken.", "edge"),
    counter("fairlead_cluster_edge_accepted", "connections", "Connections accepted.", "edge"),
    gauge("fairlead_cluster_process_resident_bytes", "bytes", "Resident memory.", "service", "name"),
    counter("fairlead_cluster_process_cpu_seconds", "seconds", "CPU time, user and system.", "service", "name"),
    gauge(
        "fairlead_cluster_process_loop_lag_seconds",
        "seconds",
        "The largest lateness of the process's event loop in the last second.",
        "service",
        "name",
    ),
    gauge("fairlead_cluster_process_open_fds", "descriptors", "Open file descriptors.", "service", "name"),
    gauge(
        "fairlead_cluster_process_max_fds", "descriptors", "Descriptors that the process may open.", "service", "name"
    ),
    gauge(
        "fairlead_cluster_process_uptime_seconds", "seconds", "Time since the start of the process.", "service", "name"
    ),
)
