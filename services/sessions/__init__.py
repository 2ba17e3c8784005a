"""What happened, kept: folds the session log into PostgreSQL and answers questions about it.

The way of a fact: SESSIONS stream -> `log_nats` -> `projector` -> `store` (in one transaction: load the rows that a
batch touches, fold with `projection`, write rows and position) -> `reader_postgres` -> `api`. `edge_watch` adds the one
fact that no edge can write: that it is gone.
"""
