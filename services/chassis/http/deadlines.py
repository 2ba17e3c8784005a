"""Deadlines for the connections of a server that wait for their clients."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Awaiting(Protocol):
    """A connection that waits for its client."""

    def overdue(self) -> None:
        """The connection has waited too long, or another one needs its room."""


class Deadlines:
    """Closes connections that take too long, with one timer for all connections of a server.

    An incomplete body has no deadline here, as its reader sets one; it is known here so that it can be closed to make
    room.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._deadlines: dict[Awaiting, float] = {}  # ordered by time, since all timeouts are equal
        self._bodies: dict[Awaiting, float] = {}  # since when a connection has waited for the rest of a body
        self._ticking = False

    def await_body(self, protocol: Awaiting) -> None:
        if protocol not in self._bodies:
            self._bodies[protocol] = self._loop.time()

    def complete_body(self, protocol: Awaiting) -> None:
        self._bodies.pop(protocol, None)

    def add(self, protocol: Awaiting) -> None:
        self._deadlines.pop(protocol, None)
        self._deadlines[protocol] = self._loop.time() + self._timeout_s
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(self._timeout_s, self._sweep)

    def discard(self, protocol: Awaiting) -> None:
        self._deadlines.pop(protocol, None)

    def forget(self, protocol: Awaiting) -> None:
        self._deadlines.pop(protocol, None)
        self._bodies.pop(protocol, None)

    def take_oldest(self) -> Awaiting | None:
        """Removes the connection that has waited longest for the client, and returns it."""
        oldest, body = next(iter(self._deadlines), None), next(iter(self._bodies), None)
        if body is not None and (oldest is None or self._bodies[body] < self._deadlines[oldest] - self._timeout_s):
            oldest = body
        if oldest is not None:
            self.forget(oldest)
        return oldest

    def _sweep(self) -> None:
        now = self._loop.time()
        late = []
        for protocol, deadline in self._deadlines.items():
            if deadline > now:
                self._loop.call_later(max(deadline - now, self._timeout_s / 10), self._sweep)
                break
            late.append(protocol)
        else:
            self._ticking = False
        for protocol in late:
            protocol.overdue()
