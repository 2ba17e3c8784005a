"""Whether this edge accepts new clients."""

from __future__ import annotations

from collections.abc import Callable


class Admission:
    """Refuses clients while the edge starts, and once a drain closes clients; is unready from the drain's beginning on.

    If memory is short, the edge is unready above the soft limit while another edge has room, and refuses clients above
    the hard limit. (Edges that are loaded evenly reach their soft limits together: if none were ready, nobody would be
    served, with memory left.) `broker_available` returns whether the edge reaches the broker, `room_elsewhere` whether
    another edge is ready for clients and below its soft limit, `nats_problem` what the edge may not do on NATS.
    """

    def __init__(
        self,
        broker_available: Callable[[], bool],
        room_elsewhere: Callable[[], bool],
        nats_problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._broker_available = broker_available
        self._room_elsewhere = room_elsewhere
        self._nats_problem = nats_problem
        self._started = False
        self._draining = False
        self._closed = False
        self._above_soft = False
        self._above_hard = False

    @property
    def started(self) -> bool:
        """Whether the edge has started: it has connected, and its streams exist."""
        return self._started

    @property
    def draining(self) -> bool:
        """Whether a drain has begun, so that load balancers should stop sending clients."""
        return self._draining

    def open(self) -> None:
        """Accepts new clients from now on."""
        self._started = True

    def begin_drain(self) -> None:
        """Makes the edge unready. It still accepts the clients that a load balancer sends meanwhile."""
        self._draining = True

    def close(self) -> None:
        """Refuses new clients from now on."""
        self._closed = True

    def limit_memory(self, above_soft: bool, above_hard: bool) -> None:
        """Sets whether memory is above its limits."""
        self._above_soft, self._above_hard = above_soft, above_hard

    def unready(self) -> str | None:
        """Why load balancers should not send new clients here, None if they may."""
        if self._draining:
            return "draining"
        if (problem := self._nats_problem()) is not None:
            return problem
        if not self._started:
            return "starting: waiting for NATS and its streams"
        if not self._broker_available():
            return "NATS is unavailable"
        if self._above_hard:
            return "memory is above edge.memory_hard_limit"
        if self._above_soft and self._room_elsewhere():
            return "memory is above edge.memory_soft_limit, and another edge has room"
        return None

    @property
    def has_room(self) -> bool:
        """Whether the edge is ready for new clients and below its memory limits, as it reports to other edges."""
        return not self._above_soft and self.unready() is None

    @property
    def cause(self) -> str:
        """Why new clients are refused, if they are, as metrics count it."""
        if self._closed:
            return "draining"
        return "memory" if self._above_hard else "unready"

    def refusal(self) -> str | None:
        """Why new clients are refused, None if they are accepted."""
        if self._closed:
            return "this edge is going away"
        if self._above_hard:
            return "this edge is short of memory"
        return None if self._started else "this edge is starting"
