"""Every series that an edge exposes about itself, besides those of every process (`chassis.metrics.process`).

Labels come from bounded sets: no channel, no user, no client. The namespaces are those of the configuration.
"""

from __future__ import annotations

from typing import Final

from services.chassis.metrics.series import FAST_S, LONG_S, SIZES, catalog, counter, gauge, histogram
from services.edge.instruments.failure_catalog import FAILURE_SERIES

EDGE_SERIES: Final = catalog(
    gauge("fairlead_edge_connections", "connections", "Open connections."),
    gauge("fairlead_edge_http_streams", "connections", "Open connections that are HTTP streams or SSE."),
    gauge("fairlead_edge_users", "users", "Users with a connection here."),
    gauge("fairlead_edge_channels", "channels", "Channels open here."),
    gauge("fairlead_edge_subscriptions", "subscriptions", "Subscriptions of all connections."),
    gauge("fairlead_edge_ready", "bool", "1 while the edge is ready for clients."),
    gauge("fairlead_edge_draining", "bool", "1 while the edge drains."),
    gauge("fairlead_edge_drain_left", "connections", "Connections that a drain still has to close."),
    gauge("fairlead_edge_publishes_in_flight", "publishes", "Publishes that wait for JetStream's acknowledgement."),
    gauge("fairlead_edge_publishes_waiting", "publishes", "Publishes that wait behind those in flight."),
    gauge("fairlead_edge_log_parts_bytes", "bytes", "Parts of logs kept for clients that catch up, at most 32 MiB."),
    gauge(
        "fairlead_edge_fan_out_waiting_bytes",
        "bytes",
        "Publications, joins and leaves that wait to be written to the subscribers here, at most 64 MiB. If "
        "they wait for long, use more edges.",
    ),
    gauge("fairlead_edge_session_events_waiting", "events", "Session events not yet stored."),
    gauge("fairlead_edge_slow_clients", "clients", "Clients whose sockets are full: they do not take what is written."),
    gauge(
        "fairlead_edge_memory_used_bytes",
        "bytes",
        "Memory that counts against the limits: that of the process, and the kernel's for its connections.",
    ),
    gauge(
        "fairlead_edge_memory_soft_limit_bytes",
        "bytes",
        "Above it the edge is not ready for new clients while another edge has room. 0: off.",
    ),
    gauge("fairlead_edge_memory_hard_limit_bytes", "bytes", "Above it the edge closes slow clients. 0: off."),
    gauge(
        "fairlead_edge_memory_part_bytes",
        "bytes",
        "Memory by its use. Measured: `client_backlog` (what waits for slow clients; frames that they share count for "
        "each), `rings`, `log_parts`, `fan_out`. Estimated by number and average size: `kernel`, `connections`, "
        "`subscriptions`, `channels`, `session_events`.",
        "part",
    ),
    counter("fairlead_edge_shed", "clients", "Clients closed with 3011 because memory was above its hard limit."),
    counter("fairlead_edge_accepted", "connections", "Connections upgraded to a WebSocket."),
    counter("fairlead_edge_messages_in", "messages", "Commands received from clients."),
    counter("fairlead_edge_messages_out", "messages", "Replies and pushes written to clients."),
    counter("fairlead_edge_bytes_out", "bytes", "Bytes of frames written to clients."),
    counter("fairlead_edge_publishes", "publications", "Publications acknowledged by the broker."),
    counter(
        "fairlead_edge_gaps", "gaps", "Gaps in live messages that the edge found and filled from the log.", "namespace"
    ),
    counter(
        "fairlead_edge_holes",
        "gaps",
        "Gaps that the edge could not fill, as the log had evicted the missing publications: positioned subscribers "
        "are unsubscribed with 2500.",
        "namespace",
    ),
    counter("fairlead_edge_log_reads", "reads", "Reads of a channel's log for clients that recover or catch up."),
    counter(
        "fairlead_edge_log_parts_shared",
        "parts",
        "Parts of logs that clients that recover or catch up got without a read of their own.",
    ),
    counter(
        "fairlead_edge_syncs",
        "reads",
        "Reads of a channel's log, to fill a gap or to prove that there is none.",
        "namespace",
    ),
    counter(
        "fairlead_edge_broker_losses",
        "disconnects",
        "Connections to NATS that dropped. If NATS is healthy, the edge reads too slowly.",
    ),
    counter("fairlead_edge_recovered", "subscriptions", "Subscriptions that recovered everything they had missed."),
    counter(
        "fairlead_edge_unrecovered",
        "subscriptions",
        "Subscriptions that could not recover everything they had missed.",
    ),
    counter("fairlead_edge_recovered_publications", "publications", "Publications sent by recoveries."),
    counter("fairlead_edge_lagged", "clients", "Times that a client became a slow consumer.", "transport", "library"),
    counter("fairlead_edge_caught_up", "clients", "Times that a slow consumer caught up.", "transport", "library"),
    counter(
        "fairlead_edge_dropped",
        "publications",
        "Publications without history that slow consumers lost.",
        "transport",
        "library",
    ),
    counter(
        "fairlead_edge_fan_out_dropped",
        "publications",
        "Publications without history that came faster than the edge could write them to subscribers.",
    ),
    counter(
        "fairlead_edge_waits",
        "turns",
        "Times that a client had sent more than one turn of the event loop handles, and the rest waited. "
        "Large messages and reconnects count a few; a client that floods counts thousands a second.",
    ),
    counter(
        "fairlead_edge_left_out",
        "publications",
        "Publications left out for JSON clients because they are not JSON, or nest too deep; for each client.",
    ),
    counter(
        "fairlead_edge_api_turned_away",
        "calls",
        "Calls of the server API that got error 111, as too many were in progress.",
    ),
    counter(
        "fairlead_edge_publishes_refused",
        "publishes",
        "Publishes answered with error 100 because too many others were in flight: JetStream is too slow, or "
        "clients publish more than it can store.",
    ),
    counter("fairlead_edge_session_events", "events", "Session events acknowledged by JetStream."),
    counter(
        "fairlead_edge_session_events_dropped",
        "events",
        "Session events dropped: NATS was unavailable for too long, or does not take messages of their size.",
    ),
    counter("fairlead_edge_closes", "connections", "Connections ended, by WebSocket close code.", "code"),
    counter("fairlead_edge_errors", "replies", "Error replies, by code; `other` for codes of backends.", "code"),
    counter(
        "fairlead_edge_limited",
        "refusals",
        "Connects and commands that a limit refused, by the name of the limit.",
        "limit",
    ),
    # --- how long things take
    histogram(
        "fairlead_edge_delivery_seconds",
        "seconds",
        FAST_S,
        "Time from an edge's acceptance of a publication (NATS's, if a backend published straight on NATS) until this "
        "edge has written it to all of its subscribers here, by the clock of NATS. One observation for each "
        "publication and edge, including publications that were missed live and read from the log.",
        "namespace",
    ),
    gauge(
        "fairlead_edge_clock_offset_seconds",
        "seconds",
        "How much the clock of NATS is ahead of this machine's. Deliveries are measured by the clock of NATS.",
    ),
    gauge(
        "fairlead_edge_clock_error_seconds",
        "seconds",
        "Upper bound of the error of this edge's estimate of NATS's clock.",
    ),
    histogram(
        "fairlead_edge_connect_seconds",
        "seconds",
        FAST_S,
        "Time from a client's connect command to its reply: token, hook, limits, server-side subscriptions. `library` "
        "is the SDK that the client names, `other` if it is not a stock one.",
        "transport",
        "library",
    ),
    counter("fairlead_edge_connects", "clients", "Clients that connected.", "transport", "library"),
    counter(
        "fairlead_edge_reconnects",
        "clients",
        "Clients that came back: on their new connection they asked to recover a channel from a position that they had "
        "kept. Each connection counts once. A client without such a channel looks like a new one. Whether its session "
        "is resumed is another question: `fairlead_sessions_resumed`.",
        "transport",
        "library",
    ),
    histogram(
        "fairlead_edge_subscribe_seconds",
        "seconds",
        FAST_S,
        "Time to subscribe a client, including what it recovers in the reply; after its hook, if there is one. "
        "Server-side subscriptions count in the time to connect.",
        "namespace",
    ),
    histogram(
        "fairlead_edge_recovery_seconds",
        "seconds",
        FAST_S,
        "Time to find what a subscriber missed: 0 from memory, or reads of the log.",
        "namespace",
    ),
    histogram(
        "fairlead_edge_recovery_publications", "publications", SIZES, "Publications of one recovery.", "namespace"
    ),
    counter(
        "fairlead_edge_recoveries",
        "subscriptions",
        "Subscriptions that asked for recovery: recovered or unrecovered.",
        "namespace",
        "result",
    ),
    counter(
        "fairlead_edge_recoveries_by_client",
        "subscriptions",
        "Subscriptions that asked for recovery, by the client that asked; clients that left meanwhile do not count.",
        "transport",
        "library",
        "result",
    ),
    gauge("fairlead_edge_drain_seconds", "seconds", "How long the drain has taken so far; 0 if there is none."),
    # --- under the names of the service that Fairlead replaced
    gauge("websocket_active_connections", "connections", "Open connections; the same as fairlead_edge_connections."),
    histogram(
        "websocket_connection_duration_seconds", "seconds", LONG_S, "How long connections that ended had lasted."
    ),
    gauge("websocket_start_seconds", "seconds", "Time from the start of the process until it was ready for clients."),
    gauge("websocket_stop_seconds", "seconds", "Time since the process was told to stop; 0 if it was not."),
    *FAILURE_SERIES,
)
