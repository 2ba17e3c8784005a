"""The sessions service: folds the session log into PostgreSQL and answers queries about sessions.

The way of a fact: stream SESSIONS -> `log_nats` -> `projector` (with `read_ahead`) -> `commits` (which sets aside what
cannot be folded) -> `store_postgres`, in two halves. The first folds: `loading_postgres` loads what the batch's
`read_set` names and `resident`, the rows in memory, lack; `projection` passes each fact to the `models`;
`writes_postgres` makes the statements. The second writes rows and position in one transaction. Then `changes` tells
followers, and `api`, `commands` and `queries` read.

`retention_postgres` removes old rows, with the help of `partitions_postgres`. `rebuilding` folds the log afresh into
tables beside the live ones. `privacy` exports and erases users. `edge_watch` adds the one fact that no edge can write:
that the edge is gone; `heard_edges` keeps when each edge was heard last. `webhooks` is another reader of the log, which
tells backends; `outbox` has nothing to do with the log.
"""
