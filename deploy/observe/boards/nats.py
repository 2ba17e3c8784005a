"""Each process's connection to NATS, and its traffic."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel, quantiles

NATS: Final = Board(
    "nats",
    "Fairlead: NATS",
    [
        Panel("Connected", "short", {"{{instance}}": "fairlead_process_nats_connected"}, "1 while connected."),
        Panel(
            "Connections that dropped",
            "short",
            {"{{instance}}": "increase(fairlead_process_nats_disconnects_total[$w])"},
            "If NATS is up, this process reads too slowly.",
        ),
        Panel(
            "Not permitted",
            "ops",
            {"{{instance}}": "rate(fairlead_process_nats_permission_violations_total[$w])"},
            "The user of this process lacks a permission.",
        ),
        Panel(
            "Publishes",
            "ops",
            {"{{instance}}": "rate(fairlead_edge_publishes_total[$w])"},
            "Publications that JetStream acknowledged.",
        ),
        Panel(
            "Publishes in flight",
            "short",
            {
                "{{instance}} in flight": "fairlead_edge_publishes_in_flight",
                "{{instance}} behind them": "fairlead_edge_publishes_waiting",
            },
            "At most edge.max_publishes_in_flight are in flight, and at most 16 times as many wait.",
        ),
        Panel(
            "Time to store",
            "s",
            quantiles("fairlead_edge_publish_ack_seconds"),
            "From sending a publish to JetStream's acknowledgement: it shows the speed of the NATS server's disk.",
        ),
        Panel(
            "Room of all streams",
            "percentunit",
            {"used": "fairlead_cluster_store_used_bytes / fairlead_cluster_store_limit_bytes"},
            "As a share of the account's limit or, without one, of the limits of all streams.",
        ),
        Panel(
            "Room of the fullest streams",
            "percentunit",
            {"{{stream}}": "topk(8, fairlead_cluster_stream_bytes / fairlead_cluster_stream_limit_bytes)"},
            "At 1 the oldest messages are removed, or new ones are refused.",
        ),
        Panel(
            "Stored",
            "bytes",
            {"all streams": "fairlead_cluster_store_used_bytes"},
            "It falls when histories expire.",
        ),
        Panel(
            "JetStream answers",
            "short",
            {
                "answers": "fairlead_cluster_store_answers",
                "streams that do not": "fairlead_cluster_streams_unanswered",
                "streams that do not, to {{instance}}": "fairlead_edge_streams_unanswered",
            },
            "Streams that do not answer have no leader.",
        ),
        Panel(
            "Streams that edges do not use",
            "short",
            {
                "{{instance}} {{kind}}": "sum by (instance, kind) (fairlead_edge_streams_unavailable)",
                "{{instance}}, not storing": "fairlead_edge_streams_not_storing",
            },
            "Publishes and subscribes there get error 100; `/readyz` of the edge says why.",
        ),
        Panel(
            "Up-to-date copies",
            "short",
            {"fewest": "min(fairlead_cluster_stream_replicas_current / fairlead_cluster_stream_replicas)"},
            "For the stream with the smallest share; 1 is all copies.",
        ),
        Panel(
            "Heartbeats",
            "ops",
            {"heard": "rate(fairlead_cluster_heartbeats_total[$w])"},
            "One a second from each process.",
        ),
    ],
)
