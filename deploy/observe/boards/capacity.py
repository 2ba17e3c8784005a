"""What the cluster uses for its load, how much more it can take, and what the coming hours need."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel

_OURS: Final = 'job=~"fairlead-.+"'

CAPACITY: Final = Board(
    "capacity",
    "Fairlead: capacity",
    [
        Panel(
            "Clients of all edges", "short", {"": "fairlead_cluster_connections"}, "As counted by the metrics service."
        ),
        Panel(
            "Cores used",
            "short",
            {"{{service}}": "sum by (service) (rate(fairlead_cluster_process_cpu_seconds_total[$w]))"},
            "An edge uses at most one core.",
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
            "Of edges, including what they need without clients: it falls as clients are added.",
        ),
        Panel(
            "Descriptors",
            "percentunit",
            {"{{instance}}": f"process_open_fds{{{_OURS}}} / process_max_fds"},
            "The share of the descriptors that the process may open.",
        ),
        Panel(
            "Evenness",
            "short",
            {"": "fairlead_cluster_imbalance_ratio"},
            "Connections of the fullest edge, divided by the mean. 1 is even.",
        ),
        Panel(
            "Messages per client",
            "ops",
            {
                "": "sum(rate(fairlead_edge_messages_out_total[$w])) / clamp_min(sum(fairlead_edge_connections), 1)",
            },
            "Clients, times the messages that each receives, are what fills an edge.",
        ),
        Panel(
            "Edges",
            "short",
            {"alive": "fairlead_cluster_edges", "draining": "fairlead_cluster_edges_draining"},
            "According to their heartbeats.",
        ),
        Panel(
            "Headroom",
            "short",
            {
                "in total": "fairlead_cluster_capacity_headroom_connections",
                "{{resource}} alone": "fairlead_cluster_capacity_resource_headroom_connections",
            },
            "How many more connections the edges can take.",
        ),
        Panel(
            "Share of the limits in use",
            "percentunit",
            {"{{resource}}": "max by (resource) (fairlead_cluster_capacity_edge_used_ratio)"},
            "For the edge that uses the most.",
        ),
        Panel(
            "Edges: recommended, needed, running",
            "short",
            {
                "recommended": "fairlead_cluster_recommended_edges",
                "needed by the present load": "fairlead_cluster_capacity_needed_edges",
                "running": "fairlead_cluster_edges - fairlead_cluster_edges_draining",
            },
            "The recommended number looks ahead; edges that drain do not count as running.",
        ),
        Panel(
            "Forecast: edges",
            "short",
            {
                "within {{within}}, {{bound}}": "fairlead_cluster_forecast_edges",
            },
            "The highest demand within this time: expected, and at the configured certainty.",
        ),
        Panel(
            "Forecast: too few edges",
            "percentunit",
            {"within {{within}}": "fairlead_cluster_forecast_exhaustion_ratio"},
            "The probability that the load needs more edges than take clients now.",
        ),
        Panel(
            "Quality of model and forecast",
            "percentunit",
            {
                "model, {{resource}} (R²)": "fairlead_cluster_capacity_fit_quality_ratio",
                "error of the {{method}}": "fairlead_cluster_forecast_error_ratio",
            },
            "Good: an R² near 1, and an error below that of the naive method.",
        ),
    ],
)
