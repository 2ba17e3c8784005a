"""The read API, over HTTP and over NATS.

The way of a question: `calls_http` or `calls_nats` -> `calls` (reads its `parameters`, waits for a position, knows the
answer's tag) -> `questions` (which says for each what it takes and gives) -> a reader in PostgreSQL -> `views`.
"""
