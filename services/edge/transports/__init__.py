"""Transports of clients: WebSockets, HTTP streams and server-sent events, and the requests beside a stream."""
