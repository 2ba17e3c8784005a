"""Bytes on the wire: RFC 6455, and how messages look on each kind of transport. No I/O."""
