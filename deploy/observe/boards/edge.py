"""What each edge uses, and how late it is."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel, quantiles

_EDGE: Final = 'job="fairlead-edge", instance=~"$edge"'

EDGE: Final = Board(
    "edge",
    "Fairlead: edges",
    [
        Panel("Clients", "short", {"{{instance}}": f"fairlead_edge_connections{{{_EDGE}}}"}, "Open connections."),
        Panel(
            "CPU",
            "percentunit",
            {"{{instance}}": f"rate(process_cpu_seconds_total{{{_EDGE}}}[$w])"},
            "An edge uses one core: at 1 it is full.",
        ),
        Panel("Memory", "bytes", {"{{instance}}": f"process_resident_memory_bytes{{{_EDGE}}}"}, "Resident memory."),
        Panel(
            "Memory that counts",
            "bytes",
            {
                "{{instance}}": f"fairlead_edge_memory_used_bytes{{{_EDGE}}}",
                "soft limit": f"min(fairlead_edge_memory_soft_limit_bytes{{{_EDGE}}})",
                "hard limit": f"min(fairlead_edge_memory_hard_limit_bytes{{{_EDGE}}})",
            },
            "Includes the kernel's memory for connections. Above the soft limit new clients go elsewhere. 0: no limit.",
        ),
        Panel(
            "Memory by use",
            "bytes",
            {"{{part}}": f"sum by (part) (fairlead_edge_memory_part_bytes{{{_EDGE}}})"},
            "client_backlog is what waits for slow clients.",
        ),
        Panel(
            "Slow clients now",
            "short",
            {"{{instance}}": f"fairlead_edge_slow_clients{{{_EDGE}}}"},
            "Their sockets are full.",
        ),
        Panel(
            "Event loop: lateness",
            "s",
            quantiles(f"fairlead_process_loop_lag_seconds{{{_EDGE}}}", "instance"),
            "How late a timer of 50 ms fires: every client waits this long in addition.",
        ),
        Panel(
            "Event loop: worst",
            "s",
            {"{{instance}}": f"fairlead_process_loop_lag_max_seconds{{{_EDGE}}}"},
            "The largest lateness of the last 30 to 60 s: a freeze of the process shows its length.",
        ),
        Panel(
            "Descriptors",
            "percentunit",
            {"{{instance}}": f"process_open_fds{{{_EDGE}}} / process_max_fds{{{_EDGE}}}"},
            "At 1 no client is accepted.",
        ),
        Panel(
            "Ready, draining",
            "short",
            {
                "{{instance}} ready": f"fairlead_edge_ready{{{_EDGE}}}",
                "{{instance}} draining": f"fairlead_edge_draining{{{_EDGE}}}",
            },
            "An edge that is neither is cut off from NATS.",
        ),
        Panel(
            "Time to connect a client",
            "s",
            quantiles(f"fairlead_edge_connect_seconds{{{_EDGE}}}"),
            "Includes token, hook, limits and server-side subscriptions.",
        ),
        Panel(
            "Time to subscribe a client",
            "s",
            quantiles(f"fairlead_edge_subscribe_seconds{{{_EDGE}}}"),
            "Includes recovery.",
        ),
        Panel(
            "How clients connect",
            "ops",
            {
                "{{transport}} {{library}}": "sum by (transport, library) "
                f"(rate(fairlead_edge_connects_total{{{_EDGE}}}[$w]))"
            },
            "By transport, and by the SDK that the client reports.",
        ),
        Panel(
            "Drain: clients left",
            "short",
            {"{{instance}}": f"fairlead_edge_drain_left{{{_EDGE}}}"},
            "By default a drain ends in less than 10 s.",
        ),
        Panel(
            "Users, channels, subscriptions",
            "short",
            {
                "users": f"sum(fairlead_edge_users{{{_EDGE}}})",
                "channels": f"sum(fairlead_edge_channels{{{_EDGE}}})",
                "subscriptions": f"sum(fairlead_edge_subscriptions{{{_EDGE}}})",
            },
            "A user or a channel on two edges counts twice.",
        ),
        Panel(
            "HTTP streams",
            "short",
            {"{{instance}}": f"fairlead_edge_http_streams{{{_EDGE}}}"},
            "Clients that cannot use WebSockets; each takes six times the memory.",
        ),
        Panel(
            "Clients that wait for their turn",
            "ops",
            {"{{instance}}": f"rate(fairlead_edge_waits_total{{{_EDGE}}}[$w])"},
            "Thousands per second come from a client that floods the edge.",
        ),
        Panel(
            "Garbage collections",
            "ops",
            {"generation {{generation}}": f"sum by (generation) (rate(python_gc_collections_total{{{_EDGE}}}[$w]))"},
            "Generation 2 stops the process for the longest.",
        ),
    ],
    by_edge=True,
)
