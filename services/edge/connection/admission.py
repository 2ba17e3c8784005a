"""Whether this edge takes new clients, and from which pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate


class Origins:
    """The pages that may connect, as patterns such as "https://*.example.com". Only browsers send an origin."""

    def __init__(self, patterns: list[str]) -> None:
        self._pattern = re.compile("|".join(translate(pattern.lower()) for pattern in patterns)) if patterns else None

    def allow(self, origin: str | None) -> bool:
        """Whether a handshake with this `Origin` header (None when it has none) is accepted."""
        if origin is None:
            return True
        return self._pattern is not None and self._pattern.match(origin.lower()) is not None


class Admission:
    """The edge's door: closed while it starts, unready from the beginning of a drain, closed during the drain.

    `broker_available` says whether the edge reaches the broker.
    """

    def __init__(self, origins: Origins, broker_available: Callable[[], bool]) -> None:
        self.origins = origins
        self._broker_available = broker_available
        self._started = False
        self._draining = False
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether the edge has all that it needs."""
        return self._started

    @property
    def draining(self) -> bool:
        """Whether load balancers shall stop sending clients."""
        return self._draining

    def open(self) -> None:
        """New clients are taken from now on."""
        self._started = True

    def begin_drain(self) -> None:
        """The edge is unready. It still takes the clients that a load balancer sends meanwhile."""
        self._draining = True

    def close(self) -> None:
        """New clients are refused from now on."""
        self._closed = True

    def unready(self) -> str | None:
        """Why this edge should not be sent new clients, None when it may be."""
        if self._draining:
            return "draining"
        if not self._started:
            return "starting: waiting for NATS and its streams"
        return None if self._broker_available() else "NATS is away"

    def refusal(self) -> str | None:
        """Why new clients are refused, None when they are taken."""
        if self._closed:
            return "this edge is going away"
        return None if self._started else "this edge is starting"
