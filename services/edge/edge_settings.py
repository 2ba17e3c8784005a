"""The section `edge`: one edge process, with its addresses, broker, drain and bounds."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from services.chassis.process.settings import Count, Duration, Port, PortOrNone, Section

DEFAULT_PORT: Final = 8101
DRAIN_LIMIT_S: Final = 3600.0
"""The longest drain that can be configured. A drain holds up whatever replaces edges one by one."""

MEMORY: Final = "memory"
BROKERS: Final = ("nats", MEMORY)


class EdgeSection(Section, frozen=True):
    """One edge process: addresses, broker, drain, bounds."""

    host: str = "127.0.0.1"
    """The address on which it listens."""
    port: Port = DEFAULT_PORT
    """The port for clients, the server API, health checks and metrics."""
    client_port: PortOrNone = 0
    """A second port for clients only, for a balancer that passes TCP through and cannot restrict paths. 0: none."""
    trusted_proxies: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """The proxies and balancers in front of the edge, as addresses and networks such as "10.0.0.0/8". They report the
    addresses of clients, by `X-Forwarded-For` or the PROXY protocol; nobody else is believed."""
    proxy_protocol: bool = False
    """Connections of `trusted_proxies` to `client_port` begin with a header of the PROXY protocol (version 1 or 2)."""
    name: str = ""
    """The edge's name in logs, metrics and sessions. Empty: the name of its host, followed by ":<port>" if the port is
    not 8101, so that the edges of one host have different names. Metrics add up edges of the same name."""
    broker: str = "nats"
    """"nats", or "memory": an edge by itself that needs no NATS, for a first try and for the tests of applications. It
    keeps channels in its own memory, and has no other edges, no backends on NATS and no sessions."""
    drain_delay: Duration = Duration(0.5)
    """How long the edge accepts new clients after SIGTERM, until the load balancer notices that it is not ready."""
    drain_rate: Annotated[int, Meta(ge=0)] = 1000
    """Connections closed per second while draining; more if the time would not suffice. 0: as fast as it can."""
    drain_timeout: Duration = Duration(9.0)
    """After this time a drain is cut off. At most 1 h. What stops the edge must wait 6 s longer before it kills it."""
    max_publishes_in_flight: Count = 512
    """Publishes that may wait for JetStream's acknowledgement at once. 16 times as many may wait for their turn;
    further ones get error 100 at once."""
    max_http_streams: Count = 10_000
    """Clients on SSE and HTTP streams at once (each takes the memory of six WebSockets); further ones get 503."""
    memory_soft_limit: Annotated[int, Meta(ge=0)] | None = None
    """Bytes above which it is not ready for new clients while another edge has room. Left out: 70 % of what it may use.
    0: no limit."""
    memory_hard_limit: Annotated[int, Meta(ge=0)] | None = None
    """Bytes above which it refuses clients, and closes the slowest. Left out: 85 % of what it may use. 0: no limit."""

    def __post_init__(self) -> None:
        if self.broker not in BROKERS:
            raise ValueError('expected edge.broker "nats" or "memory"')
        if self.drain_timeout > DRAIN_LIMIT_S:
            raise ValueError(f"expected edge.drain_timeout of at most {DRAIN_LIMIT_S:g} s")
        if self.drain_delay >= self.drain_timeout:
            raise ValueError("expected edge.drain_delay to be shorter than edge.drain_timeout")
        if 0 < (self.memory_hard_limit or 0) < (self.memory_soft_limit or 0):
            raise ValueError("expected edge.memory_hard_limit to be at least edge.memory_soft_limit")
        if self.client_port == self.port:
            raise ValueError("expected edge.client_port to be another port than edge.port")
        if self.proxy_protocol and not (self.client_port and self.trusted_proxies):
            raise ValueError("expected edge.client_port and edge.trusted_proxies with edge.proxy_protocol")
