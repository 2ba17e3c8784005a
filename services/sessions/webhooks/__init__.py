"""Webhooks: what happened to connections and channels, POSTed to backends in the order of the session log.

The way of an event: stream SESSIONS -> `log_nats` -> `tracker` (makes events of facts, from what is known of
connections) -> `batches` -> `webhook` (sends one request at a time, until it is taken) -> `sender_http` ->
`progress_postgres` (in one transaction: how far the webhook has come, what is known of connections, and the events that
were set aside). docs/events.md is the page for those who receive them.
"""
