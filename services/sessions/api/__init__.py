"""The read API, over HTTP and over NATS.

The way of a question: `calls_http` or `calls_nats` -> `calls` (reads the `parameters`, waits for a position, makes the
answer's tag) -> `questions` (the parameters and the shape of the answer of each) -> a reader in PostgreSQL -> `views`.
"""
