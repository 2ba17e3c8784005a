"""Every series that the sessions service exposes about its own work. No label has a user, a session or a channel."""

from __future__ import annotations

from typing import Final

from services.chassis.metrics.series import FAST_S, catalog, counter, gauge, histogram

SESSIONS_SERIES: Final = catalog(
    counter("fairlead_sessions_events_applied", "facts", "Facts folded into PostgreSQL."),
    counter("fairlead_sessions_duplicate_batches", "batches", "Batches skipped because they were applied before."),
    counter(
        "fairlead_sessions_unknown_facts",
        "facts",
        "Facts about connections whose opening, or whose session, is not in the tables.",
    ),
    counter(
        "fairlead_sessions_dead_letters",
        "messages",
        "Messages of the session log that were set aside, as a whole or in part: they are not a batch, or could not "
        "be read, folded or stored. `python -m services.sessions dead-letters` lists and replays them.",
    ),
    counter(
        "fairlead_sessions_unknown_types",
        "facts",
        "Facts of a type that this version does not know, set aside. The log says which types.",
    ),
    counter(
        "fairlead_sessions_overtaken",
        "messages",
        "Messages that were dropped from the session log, because of their age or for want of room, or deleted, before "
        "they were folded.",
    ),
    counter(
        "fairlead_sessions_interrupted",
        "sessions",
        "Times that a session lost its connection in a way after which it may be resumed: not by a goodbye, nor by a "
        "close after which clients stay away, nor the session of a client without a user.",
    ),
    counter(
        "fairlead_sessions_resumed",
        "sessions",
        "Times that a session was continued on a new connection within `sessions.resume_window`. Divided by "
        "`fairlead_sessions_interrupted` it is the share of interrupted sessions that went on.",
    ),
    counter("fairlead_sessions_edge_lost", "edges", "Edges lost without a drain."),
    counter("fairlead_sessions_log_recreated", "logs", "How often the session log was found recreated."),
    histogram("fairlead_sessions_batch_seconds", "seconds", FAST_S, "Time to fold and commit one part of the log."),
    gauge("fairlead_sessions_lag_batches", "batches", "Batches in the log that are not in PostgreSQL yet."),
    gauge(
        "fairlead_sessions_lag_events_estimated",
        "facts",
        "Facts in the log that are not in PostgreSQL yet, if each batch that waits has as many as those folded last.",
    ),
    gauge(
        "fairlead_sessions_catch_up_seconds",
        "seconds",
        "How long it takes to fold what waits at the rate of the last seconds; 0 if nothing waits, or nothing moves.",
    ),
    gauge(
        "fairlead_sessions_projection_age_seconds",
        "seconds",
        "Age of the oldest batch in the log that is not in PostgreSQL, 0 if none waits. Until PostgreSQL is reached "
        "for the first time, the time since the start of the process.",
    ),
    counter("fairlead_sessions_outbox_published", "rows", "Rows of the outbox that were published and deleted."),
    counter(
        "fairlead_sessions_outbox_set_aside",
        "rows",
        "Rows of the outbox that cannot be published, set aside. `python -m services.sessions outbox` lists them.",
    ),
    counter(
        "fairlead_sessions_outbox_retries",
        "tries",
        "Publishes of the outbox that failed and are tried again. The rows behind them in their channels wait.",
    ),
    histogram(
        "fairlead_sessions_outbox_seconds",
        "seconds",
        FAST_S,
        "Time from the insertion of a row of the outbox until the relay has published it, the transaction included.",
    ),
    gauge(
        "fairlead_sessions_outbox_oldest_seconds",
        "seconds",
        "Time since the oldest row of the outbox that is not published was inserted, 0 if no row waits. While the "
        "table cannot be read, the last value goes on growing.",
    ),
    counter(
        "fairlead_sessions_questions",
        "questions",
        "Questions to the read API, by name (`operationId` in `/openapi.json`), by way (http or nats), and by status "
        "of the answer. An export or a stream counts when it begins.",
        "question",
        "way",
        "status",
    ),
    histogram(
        "fairlead_sessions_question_seconds",
        "seconds",
        FAST_S,
        "Time from a question to its answer; of an export or a stream, until it begins.",
        "question",
    ),
    gauge("fairlead_sessions_followers", "clients", "Clients that follow changes of sessions at `/sessions/live`."),
    counter("fairlead_sessions_pruned", "sessions", "Ended sessions removed because of their age."),
    counter("fairlead_webhooks_events", "events", "Events that the receiver of a webhook has taken.", "webhook"),
    counter(
        "fairlead_webhooks_requests",
        "requests",
        "Requests to webhooks, by outcome: taken; refused (a status of 400, 413, 415 or 422); another "
        "status; redirect; timeout; unreachable; tls (a certificate that does not verify).",
        "webhook",
        "outcome",
    ),
    counter(
        "fairlead_webhooks_dead_letters",
        "events",
        "Events that were set aside: refused, or given up after `give_up_after`. "
        "`python -m services.sessions webhook-dead-letters` lists and replays them.",
        "webhook",
    ),
    counter(
        "fairlead_webhooks_overtaken",
        "messages",
        "Messages that the session log dropped before their events were delivered.",
        "webhook",
    ),
    gauge(
        "fairlead_webhooks_age_seconds",
        "seconds",
        "Age of the oldest event that the process tries to deliver now, 0 if there is none.",
        "webhook",
    ),
)
