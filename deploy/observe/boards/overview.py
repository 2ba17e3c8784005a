"""The first look: is the cluster healthy, and what is its load?"""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel, quantiles

OVERVIEW: Final = Board(
    "overview",
    "Fairlead: overview",
    [
        Panel("Edges ready", "short", {"": "sum(fairlead_edge_ready)"}, "Edges that take clients.", stat=True),
        Panel("Clients", "short", {"": "sum(fairlead_edge_connections)"}, "Open connections.", stat=True),
        Panel(
            "Alerts",
            "short",
            {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
            "Alerts that are firing. operations.md has a section for each.",
            stat=True,
        ),
        Panel(
            "Error budgets",
            "short",
            {"{{level}}": "fairlead:bad:ratio1h / on (level) fairlead:budget:ratio"},
            "Bad events of the last hour, as a multiple of what the objective allows: above 1 for a month misses it.",
            stat=True,
        ),
        Panel(
            "Clients by edge",
            "short",
            {"{{instance}}": "fairlead_edge_connections"},
            "A step down is an edge that stopped; its clients appear on the others.",
        ),
        Panel(
            "Clients that come and go",
            "ops",
            {
                "accepted": "sum(rate(fairlead_edge_accepted_total[$w]))",
                "closed with {{code}}": "sum by (code) (rate(fairlead_edge_closes_total[$w]))",
            },
            "1001 is a drain, 1006 a broken network, 3012 a client that does not answer pings.",
        ),
        Panel(
            "Messages",
            "ops",
            {
                "commands in": "sum(rate(fairlead_edge_messages_in_total[$w]))",
                "messages out": "sum(rate(fairlead_edge_messages_out_total[$w]))",
                "publications": "sum(rate(fairlead_edge_publishes_total[$w]))",
            },
            "Out divided by publications is the fan-out.",
        ),
        Panel(
            "Delivery",
            "s",
            quantiles("fairlead_edge_delivery_seconds"),
            "From an edge's acceptance of a publication to the sockets of an edge.",
        ),
        Panel("Bytes out", "Bps", {"": "sum(rate(fairlead_edge_bytes_out_total[$w]))"}, "Frames written to clients."),
        Panel(
            "Commands",
            "ops",
            {"{{type}}": "sum by (type) (rate(fairlead_edge_commands_total[$w]))"},
            "What clients ask for.",
        ),
        Panel(
            "Error replies",
            "ops",
            {"{{code}}": "sum by (code) (rate(fairlead_edge_errors_total[$w]))"},
            "100 is a temporary error of the server; most others are caused by the client.",
        ),
        Panel(
            "Refused by limits",
            "ops",
            {"{{limit}}": "sum by (limit) (rate(fairlead_edge_limited_total[$w]))"},
            "A proxy that is missing in edge.trusted_proxies shows here, as all clients then have its address.",
        ),
        Panel(
            "Server API",
            "ops",
            {"{{method}} {{code}}": "sum by (method, code) (rate(fairlead_edge_api_calls_total[$w]))"},
            "By method and code: 0 is success, 111 means that too many calls were in progress.",
        ),
        Panel(
            "Clients refused before they connect",
            "ops",
            {"{{cause}}": "sum by (cause) (rate(fairlead_edge_upgrades_refused_total[$w]))"},
            "unready and draining: the balancer tries another edge. no_room: no descriptors are left.",
        ),
        Panel(
            "Backends: time to answer",
            "s",
            quantiles("fairlead_edge_backend_seconds", "call"),
            "Hooks and RPCs, until the answer or until the edge gave up.",
        ),
        Panel(
            "Backends: failures",
            "ops",
            {"{{call}} {{cause}}": "sum by (call, cause) (rate(fairlead_edge_backend_failures_total[$w]))"},
            "no_responders: there is no backend; timeout: it is slow; error and bad_answer: see its log.",
        ),
        Panel("Processes", "short", {"{{instance}}": "up"}, "1 while the process answers Prometheus."),
    ],
)
