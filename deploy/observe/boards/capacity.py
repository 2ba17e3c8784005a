"""What it uses for what it carries."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel

_OURS: Final = 'job=~"fairlead-.+"'

CAPACITY: Final = Board(
    "capacity",
    "Fairlead: capacity",
    [
        Panel(
            "Clients of all edges", "short", {"": "fairlead_cluster_connections"}, "As the metrics service counts them."
        ),
        Panel(
            "Cores used",
            "short",
            {"{{service}}": "sum by (service) (rate(fairlead_cluster_process_cpu_seconds_total[$w]))"},
            "An edge uses one at most.",
        ),
        Panel(
            "Fullest core of an edge",
            "percentunit",
            {"": 'max(rate(process_cpu_seconds_total{job="fairlead-edge"}[$w]))'},
            "Add an edge before it reaches 0.85.",
        ),
        Panel(
            "Memory",
            "bytes",
            {"{{service}}": "sum by (service) (fairlead_cluster_process_resident_bytes)"},
            "Resident memory of all processes.",
        ),
        Panel(
            "Memory of a client",
            "bytes",
            {
                "": 'sum(process_resident_memory_bytes{job="fairlead-edge"}) '
                "/ clamp_min(sum(fairlead_edge_connections), 1)"
            },
            "Of edges, with what they need without clients: it falls as clients come.",
        ),
        Panel(
            "Descriptors",
            "percentunit",
            {"{{instance}}": f"process_open_fds{{{_OURS}}} / process_max_fds"},
            "Used, of those that the process may open.",
        ),
        Panel(
            "Evenness",
            "short",
            {"": "fairlead_cluster_imbalance_ratio"},
            "Connections of the fullest edge, divided by the mean. 1 is even.",
        ),
        Panel(
            "Messages for a client",
            "ops",
            {
                "": "sum(rate(fairlead_edge_messages_out_total[$w])) / clamp_min(sum(fairlead_edge_connections), 1)",
            },
            "What makes an edge full: clients, times what each receives.",
        ),
        Panel(
            "Edges",
            "short",
            {"alive": "fairlead_cluster_edges", "draining": "fairlead_cluster_edges_draining"},
            "By their heartbeats.",
        ),
    ],
)
