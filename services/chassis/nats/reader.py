"""Cuts the bytes of a NATS server into messages, and calls the handlers of our subscriptions directly.

A message takes one `split` of its first line and a slice each for headers and payload. nats-py takes two regular
expressions, a dict and a coroutine, on which an edge would spend most of its time. Everything else (pings, errors,
messages for nats-py's own subscriptions, malformed input) is left to nats-py's parser, one complete piece at a time.
`tests/chassis/nats/test_reader.py` compares the two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

Handler = Callable[[bytes, bytes, bytes | None, bytes], None]
"""Called with `(subject, reply, headers, data)`; without them `reply` is empty and `headers` None."""


class Listener:
    """One subscription: its handler, and the command that makes it, and makes it again after each reconnect."""

    __slots__ = ("command", "handler")

    def __init__(self, handler: Handler, command: bytes) -> None:
        self.handler = handler
        self.command = command


class MessageReader:
    """Reads the bytes of one connection. `listeners` is keyed by subscription number, as the server writes it, and may
    change at any time."""

    __slots__ = ("_chunks", "_listeners", "_missing", "_run")

    def __init__(self, listeners: dict[bytes, Listener]) -> None:
        self._listeners = listeners
        self._chunks: list[bytes] = []  # of an incomplete piece
        self._missing = 0  # bytes that this piece still lacks, at least
        self._run = 0

    def reset(self) -> None:
        """Forgets the old connection: an incomplete piece, and what a running `feed` has not handled yet."""
        self._chunks.clear()
        self._missing = 0
        self._run += 1

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Calls the handlers of all messages that are complete now; yields the pieces for nats-py's parser."""
        if self._chunks:
            self._chunks.append(chunk)
            self._missing -= len(chunk)
            if self._missing > 0:
                return
            chunk = b"".join(self._chunks)
            self._chunks.clear()
        listeners, run = self._listeners, self._run
        size = len(chunk)
        at = 0
        while at < size:
            end = chunk.find(b"\r\n", at)
            if end < 0:
                self._keep(chunk[at:], 1)
                return
            body = end + 2
            words = chunk[at:end].split()
            kind, count = words[0] if words else b"", len(words)
            start = after = 0
            try:
                if kind == b"HMSG" and 5 <= count <= 6:
                    start, after = body + int(words[-2]), body + int(words[-1])
                    headers, reply = chunk[body:start], words[3] if count == 6 else b""
                elif kind == b"MSG" and 4 <= count <= 5:
                    start, after = body, body + int(words[-1])
                    headers, reply = None, words[3] if count == 5 else b""
            except ValueError:
                start = after = 0
            if not body <= start <= after:  # not a message, or a malformed one
                yield chunk[at:body]
                if self._run != run:
                    return
                at = body
                continue
            if after + 2 > size:
                self._keep(chunk[at:], after + 2 - size)
                return
            listener = listeners.get(words[2])
            if listener is None:
                yield chunk[at : after + 2]
                if self._run != run:
                    return
            else:
                try:
                    listener.handler(words[1], reply, headers, chunk[start:after])
                except Exception:  # must not end the connection
                    log.exception("the handler of a message on %s failed", words[1].decode(errors="replace"))
            at = after + 2

    def _keep(self, rest: bytes, missing: int) -> None:
        self._chunks.append(rest)
        self._missing = missing
