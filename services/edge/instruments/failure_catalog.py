"""The series about failures on an edge and their causes, and about the response times of NATS and backends. Part of
`catalog`."""

from __future__ import annotations

from typing import Final

from services.chassis.metrics.series import FAST_S, Series, counter, gauge, histogram

FAILURE_SERIES: Final[tuple[Series, ...]] = (
    counter(
        "fairlead_edge_publishes_failed",
        "publishes",
        "Publishes of clients and of the server API that failed, by cause. `away`: NATS is not connected, or has no "
        "such stream; `timeout`: no answer within 4 s; `busy`: too many others are in flight; `full`: the namespace is "
        "at `history_max_bytes` and refuses; `storage`: JetStream answers but does not store, as "
        "`max_file_store` or the account is full or its disk fails; `too_large`; `refused`: anything else.",
        "cause",
    ),
    histogram(
        "fairlead_edge_publish_ack_seconds",
        "seconds",
        FAST_S,
        "Time from sending a publish, for the first time, until JetStream acknowledged that it is stored. Publishes "
        "that fail do not count.",
    ),
    gauge(
        "fairlead_edge_streams_unanswered",
        "streams",
        "Streams of namespaces that did not report their state when this edge last asked, while NATS was connected, or "
        "reported that a majority of their replicas is away. All of them if JetStream as a whole is away. An edge asks "
        "about streams of open channels every 10 s, and every 5 s about one that did not answer, whether its channels "
        "are still open or not.",
    ),
    gauge(
        "fairlead_edge_streams_unavailable",
        "streams",
        "Streams that this edge does not use until they answer, or store, again: publishes and subscribes there get "
        "error 100. `kind` is `history` (of the channels of a namespace), `keys` (of idempotent publishes), `marks` "
        "(how far edges have seen the histories, whose metadata cannot be changed meanwhile) or `sessions` (of session "
        "events, which wait: clients notice nothing).",
        "namespace",
        "kind",
    ),
    gauge(
        "fairlead_edge_streams_not_storing",
        "streams",
        "Streams that this edge does not use because they answer but do not store: JetStream's store, or the disk, is "
        "full or fails.",
    ),
    gauge(
        "fairlead_edge_session_events_oldest_seconds",
        "seconds",
        "Age of the oldest session event that JetStream has not acknowledged; 0 if none waits.",
    ),
    counter(
        "fairlead_edge_commands",
        "commands",
        "Commands of clients, by type and code: 0 for success, the code of the error reply, or the close code if the "
        "command ended the connection. `other` stands for codes of backends, `unknown` for commands without a request.",
        "type",
        "code",
    ),
    counter(
        "fairlead_edge_api_calls",
        "calls",
        "Calls of the server API over HTTP and NATS, by method and code: 0 for success, otherwise the code of the "
        "error; 401, 408, 413 and 429 are HTTP statuses. The commands of a batch count as well, by their own methods. "
        "`unknown` stands for methods that do not exist, `other` for codes of backends.",
        "method",
        "code",
    ),
    histogram("fairlead_edge_api_call_seconds", "seconds", FAST_S, "Time of a call of the server API.", "method"),
    counter(
        "fairlead_edge_upgrades_refused",
        "clients",
        "Clients refused before they were connected, WebSockets and HTTP streams, by cause: `origin`, a limit by its "
        "name (`limits.connects`, ...), `unready`, `draining`, `memory`, `no_room` (descriptors, "
        "`edge.max_http_streams`), `bad_request`, `unsupported_version`, `not_offered`, `too_large`, `timeout`.",
        "cause",
    ),
    histogram(
        "fairlead_edge_backend_seconds",
        "seconds",
        FAST_S,
        "Time until a backend answered a hook or an RPC, or the edge gave up. `call` is `rpc`, `hook.connect`, ...",
        "backend",
        "call",
    ),
    counter(
        "fairlead_edge_backend_failures",
        "questions",
        "Hooks and RPCs without a usable answer, by backend (`nats`, or its name in `backends`) and cause: "
        "`no_responders`, `timeout`, `away` (no NATS, no connection, status 502 to 504), `tls` (its certificate), "
        "`busy` (too many wait), `open` (the circuit breaker is open), `error` (the backend's own error), `status` "
        "(any other than 200), `bad_answer`.",
        "backend",
        "call",
        "cause",
    ),
    counter(
        "fairlead_edge_jwks_fetches",
        "reads",
        "Reads of `client.token_jwks_public_endpoint`: `good`, or `failed`, after which the previous keys stay.",
        "result",
    ),
    gauge(
        "fairlead_edge_jwks_age_seconds",
        "seconds",
        "Time since `client.token_jwks_public_endpoint` gave keys, or since the start if it never has; 0 without an "
        "endpoint.",
    ),
)
