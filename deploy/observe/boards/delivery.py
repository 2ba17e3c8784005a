"""From a publication to the sockets: what is taken, what waits, what comes late, what is missed."""

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
            "What was taken, and what was written to sockets, replies included.",
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
            "Upper bound of the error of each edge's estimate of NATS's clock, by which deliveries are timed.",
        ),
        Panel(
            "Publishes that wait for NATS",
            "short",
            {
                "in flight": "sum(fairlead_edge_publishes_in_flight)",
                "behind them": "sum(fairlead_edge_publishes_waiting)",
            },
            "Behind them: JetStream is slower than the publishers.",
        ),
        Panel(
            "Publishes that failed",
            "ops",
            {"{{cause}}": "sum by (cause) (rate(fairlead_edge_publishes_failed_total[$w]))"},
            "storage, timeout and away are NATS's; busy: too many waited; full: a namespace that refuses.",
        ),
        Panel(
            "Gaps in live messages",
            "ops",
            {
                "gaps, filled: {{namespace}}": "sum by (namespace) (rate(fairlead_edge_gaps_total[$w]))",
                "holes, told: {{namespace}}": "sum by (namespace) (rate(fairlead_edge_holes_total[$w]))",
                "syncs: {{namespace}}": "sum by (namespace) (rate(fairlead_edge_syncs_total[$w]))",
            },
            "A hole is a gap that the history no longer had: its subscribers are told.",
        ),
        Panel(
            "Clients that come back",
            "ops",
            {"{{transport}} {{library}}": "sum by (transport, library) (rate(fairlead_edge_reconnects_total[$w]))"},
            "New connections of clients that recover channels: who loses its connections.",
        ),
        Panel(
            "Recoveries",
            "ops",
            {
                "recovered": "sum(rate(fairlead_edge_recovered_total[$w]))",
                "could not": "sum(rate(fairlead_edge_unrecovered_total[$w]))",
            },
            "Clients that came back: with all that they had missed, or told that they could not.",
        ),
        Panel(
            "Recoveries by client",
            "ops",
            {
                "{{transport}} {{library}} {{result}}": "sum by (transport, library, result) "
                "(rate(fairlead_edge_recoveries_by_client_total[$w]))"
            },
            "The same: whether one SDK, or one transport, comes back worse than the others.",
        ),
        Panel(
            "Time to recover",
            "s",
            quantiles("fairlead_edge_recovery_seconds"),
            "To find what a subscriber missed: in memory, or in the log.",
        ),
        Panel(
            "Catching up",
            "ops",
            {
                "publications sent": "sum(rate(fairlead_edge_recovered_publications_total[$w]))",
                "reads of logs": "sum(rate(fairlead_edge_log_reads_total[$w]))",
                "parts without a read": "sum(rate(fairlead_edge_log_parts_shared_total[$w]))",
            },
            "Many clients that come back together share what was read.",
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
