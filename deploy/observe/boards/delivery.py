"""From a publication to the sockets: what is accepted, what waits, what is late, what is missed."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel, quantiles

DELIVERY: Final = Board(
    "delivery",
    "Fairlead: delivery",
    [
        Panel(
            "Publications and deliveries",
            "ops",
            {
                "publications": "sum(rate(fairlead_edge_publishes_total[$w]))",
                "messages to clients": "sum(rate(fairlead_edge_messages_out_total[$w]))",
            },
            "What was accepted, and what was written to sockets, including replies.",
        ),
        Panel(
            "Delivery",
            "s",
            quantiles("fairlead_edge_delivery_seconds", "namespace"),
            "From an edge's acceptance of a publication to the sockets of an edge, by namespace.",
        ),
        Panel(
            "Error of the clocks",
            "s",
            {"{{instance}}": "fairlead_edge_clock_error_seconds"},
            "Upper bound of the error of each edge's estimate of NATS's clock, with which deliveries are timed.",
        ),
        Panel(
            "Publishes that wait for NATS",
            "short",
            {
                "in flight": "sum(fairlead_edge_publishes_in_flight)",
                "behind them": "sum(fairlead_edge_publishes_waiting)",
            },
            "Publishes behind those in flight show that JetStream is slower than the publishers.",
        ),
        Panel(
            "Publishes that failed",
            "ops",
            {"{{cause}}": "sum by (cause) (rate(fairlead_edge_publishes_failed_total[$w]))"},
            "storage, timeout and away come from NATS; busy: too many waited; full: a namespace refuses new ones.",
        ),
        Panel(
            "Gaps in live messages",
            "ops",
            {
                "gaps, filled: {{namespace}}": "sum by (namespace) (rate(fairlead_edge_gaps_total[$w]))",
                "holes: {{namespace}}": "sum by (namespace) (rate(fairlead_edge_holes_total[$w]))",
                "syncs: {{namespace}}": "sum by (namespace) (rate(fairlead_edge_syncs_total[$w]))",
            },
            "A hole is a gap that the history no longer had: the subscribers are informed.",
        ),
        Panel(
            "Clients that reconnect",
            "ops",
            {"{{transport}} {{library}}": "sum by (transport, library) (rate(fairlead_edge_reconnects_total[$w]))"},
            "New connections of clients that recover channels: they show whose connections are lost.",
        ),
        Panel(
            "Recoveries",
            "ops",
            {
                "recovered": "sum(rate(fairlead_edge_recovered_total[$w]))",
                "not recovered": "sum(rate(fairlead_edge_unrecovered_total[$w]))",
            },
            "Whether reconnecting subscribers got everything that they had missed, or were informed of a loss.",
        ),
        Panel(
            "Recoveries by client",
            "ops",
            {
                "{{transport}} {{library}} {{result}}": "sum by (transport, library, result) "
                "(rate(fairlead_edge_recoveries_by_client_total[$w]))"
            },
            "The same by client: whether one SDK, or one transport, recovers worse than the others.",
        ),
        Panel(
            "Time to recover",
            "s",
            quantiles("fairlead_edge_recovery_seconds"),
            "Time to find what a subscriber missed, in memory or in the log.",
        ),
        Panel(
            "Catching up",
            "ops",
            {
                "publications sent": "sum(rate(fairlead_edge_recovered_publications_total[$w]))",
                "reads of logs": "sum(rate(fairlead_edge_log_reads_total[$w]))",
                "parts without a read": "sum(rate(fairlead_edge_log_parts_shared_total[$w]))",
            },
            "Many clients that reconnect at the same time share what was read.",
        ),
        Panel(
            "Slow clients",
            "ops",
            {
                f"{what}: {{{{transport}}}} {{{{library}}}}": f"sum by (transport, library) (rate({series}[$w]))"
                for what, series in (
                    ("became slow", "fairlead_edge_lagged_total"),
                    ("caught up", "fairlead_edge_caught_up_total"),
                    ("publications they lost", "fairlead_edge_dropped_total"),
                )
            },
            "Only publications without history are lost.",
        ),
        Panel(
            "Fan-out that waits",
            "bytes",
            {"{{instance}}": "fairlead_edge_fan_out_waiting_bytes"},
            "Batches not yet written to the subscribers. If they wait for long, use more edges.",
        ),
        Panel(
            "Fan-out dropped",
            "ops",
            {
                "faster than could be written": "sum(rate(fairlead_edge_fan_out_dropped_total[$w]))",
                "not JSON, for JSON clients": "sum(rate(fairlead_edge_left_out_total[$w]))",
            },
            "Publications without history.",
        ),
    ],
)
