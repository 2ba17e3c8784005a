"""From the edges' reports to PostgreSQL."""

from __future__ import annotations

from typing import Final

from deploy.observe.boards.board import Board, Panel, quantiles

SESSIONS: Final = Board(
    "sessions",
    "Fairlead: sessions",
    [
        Panel(
            "Events",
            "ops",
            {
                "stored by edges": "sum(rate(fairlead_edge_session_events_total[$w]))",
                "folded into PostgreSQL": "sum(rate(fairlead_sessions_events_applied_total[$w]))",
            },
            "The second follows the first.",
        ),
        Panel(
            "Behind the log",
            "short",
            {"batches": "max(fairlead_sessions_lag_batches)"},
            "Batches in the log that are not in PostgreSQL yet.",
        ),
        Panel(
            "Behind the log: time",
            "s",
            {"oldest batch": "max(fairlead_sessions_projection_age_seconds)"},
            "Age of the oldest batch that is not in PostgreSQL yet.",
        ),
        Panel(
            "Time for one part of the log",
            "s",
            quantiles("fairlead_sessions_batch_seconds"),
            "Time to fold it and to commit it: PostgreSQL's speed.",
        ),
        Panel(
            "Events that wait at edges",
            "short",
            {"{{instance}}": "fairlead_edge_session_events_waiting"},
            "The number grows while NATS is away.",
        ),
        Panel(
            "Events that wait at edges: time",
            "s",
            {"{{instance}}": "fairlead_edge_session_events_oldest_seconds"},
            "Age of the oldest event that JetStream has not acknowledged.",
        ),
        Panel(
            "Lost or set aside",
            "ops",
            {
                "dropped by edges": "sum(rate(fairlead_edge_session_events_dropped_total[$w]))",
                "dropped by the log": "sum(rate(fairlead_sessions_overtaken_total[$w]))",
                "set aside": "sum(rate(fairlead_sessions_dead_letters_total[$w]))",
                "of unknown types": "sum(rate(fairlead_sessions_unknown_types_total[$w]))",
                "of unknown connections": "sum(rate(fairlead_sessions_unknown_facts_total[$w]))",
            },
            "All of these should stay at 0.",
        ),
        Panel(
            "Sessions interrupted and resumed",
            "ops",
            {
                "interrupted": "sum(rate(fairlead_sessions_interrupted_total[$w]))",
                "resumed": "sum(rate(fairlead_sessions_resumed_total[$w]))",
            },
            "Sessions that lost their connection, and sessions that continued on a new one.",
        ),
        Panel(
            "Edges lost",
            "short",
            {"": "sum(fairlead_sessions_edge_lost_total)"},
            "Edges that ended without a drain, since the sessions service started.",
        ),
        Panel(
            "Outbox",
            "ops",
            {
                "published": "sum(rate(fairlead_sessions_outbox_published_total[$w]))",
                "tried again": "sum(rate(fairlead_sessions_outbox_retries_total[$w]))",
                "set aside": "sum(rate(fairlead_sessions_outbox_set_aside_total[$w]))",
            },
            "Rows that applications have committed.",
        ),
        Panel(
            "Outbox: time",
            "s",
            {
                **quantiles("fairlead_sessions_outbox_seconds"),
                "oldest row": "max(fairlead_sessions_outbox_oldest_seconds)",
            },
            "From the insertion of a row to its publication, and how long the oldest one has waited.",
        ),
        Panel(
            "Webhooks: events",
            "ops",
            {
                "{{webhook}} took": "sum by (webhook) (rate(fairlead_webhooks_events_total[$w]))",
                "{{webhook}}: set aside": "sum by (webhook) (rate(fairlead_webhooks_dead_letters_total[$w]))",
                "{{webhook}}: missed in the log": "sum by (webhook) (rate(fairlead_webhooks_overtaken_total[$w]))",
            },
            "Events set aside wait for an operator; events missed in the log are lost to the receiver.",
        ),
        Panel(
            "Webhooks: requests",
            "ops",
            {"{{webhook}}: {{outcome}}": "sum by (webhook, outcome) (rate(fairlead_webhooks_requests_total[$w]))"},
            "By outcome: everything except taken is sent again.",
        ),
        Panel(
            "Webhooks: time",
            "s",
            {"{{webhook}}": "max by (webhook) (fairlead_webhooks_age_seconds)"},
            "Age of the oldest event that is being delivered. It grows while a receiver does not take events.",
        ),
        Panel(
            "Read API: questions",
            "ops",
            {
                "{{question}}: {{status}}": "sum by (question, status) (rate(fairlead_sessions_questions_total[$w]))",
            },
            "By name and status: 503 means that PostgreSQL is away, or too slow for the filters.",
        ),
        Panel(
            "Read API: time",
            "s",
            quantiles("fairlead_sessions_question_seconds"),
            "From a question to its answer.",
        ),
        Panel(
            "Read API: followers",
            "short",
            {"{{instance}}": "fairlead_sessions_followers"},
            "Clients of /sessions/live; an instance takes 200.",
        ),
        Panel(
            "Old sessions removed",
            "ops",
            {"": "sum(rate(fairlead_sessions_pruned_total[$w]))"},
            "Sessions that ended longer ago than sessions.keep.",
        ),
    ],
)
