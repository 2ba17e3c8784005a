"""Each process's connection to NATS, and what goes through it."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel

NATS: Final = Board(
    "nats",
    "Fairlead: NATS",
    [
        Panel("Connected", "short", {"{{instance}}": "fairlead_process_nats_connected"}, "1 while there is a link."),
        Panel(
            "Connections that dropped",
            "short",
            {"{{instance}}": "increase(fairlead_process_nats_disconnects_total[$w])"},
            "While NATS is up: this process reads too slowly.",
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
            "At most edge.max_publishes_in_flight, and 16 times as many.",
        ),
        Panel(
            "Heartbeats",
            "ops",
            {"heard": "rate(fairlead_cluster_heartbeats_total[$w])"},
            "One a second from each process.",
        ),
    ],
)
