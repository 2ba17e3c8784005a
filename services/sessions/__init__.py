"""The sessions service: folds the session log into PostgreSQL and answers queries about sessions.

The way of a fact: stream SESSIONS -> `log_nats` -> `projector` (with `read_ahead`) -> `commits` (which puts aside what
cannot be folded) -> `store` (in one transaction: load the rows of the batch's `read_set`, fold with `projection`, write
rows and position) -> `api`, which reads them.
`edge_watch` adds the one fact that no edge can write: that it is gone. `heard_edges` keeps when it was heard last.
`webhooks` is another reader of the log, which tells backends.
"""
