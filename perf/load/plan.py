"""What one client process has to do, as plain data that is sent to it. Times and numbers are those of the whole run."""

from __future__ import annotations

from dataclasses import dataclass

from perf.load.dialects import Dialect
from perf.load.pacing import Schedule
from perf.load.payload import SMALLEST
from perf.load.target import authority


@dataclass(frozen=True, slots=True)
class ClientPublishing:
    """What the clients publish over their own sockets, in turn: into the channel that each listens to, or `channel`."""

    schedule: Schedule
    size: int = 128  # bytes of a payload
    channel: str = ""

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise ValueError(f"a payload has at least {SMALLEST} bytes")


@dataclass(frozen=True, slots=True)
class Plan:
    """`schedule` says when each connection is due; `dialect` says how it opens and what it listens to."""

    host: str
    port: int
    dialect: Dialect
    schedule: Schedule
    connect_timeout_s: float = 10.0
    source_spread: int = 1  # local addresses 127.77.x.y to connect from, in turn; 1 lets the kernel choose
    sample_every: int = 1  # one age is sampled of this many messages, 0: none
    ordered: bool = False  # follow the numbers of each client's channel
    client_publishing: ClientPublishing | None = None
    reconnect_port: int = 0  # where lost clients reconnect at once, with their positions; 0: they do not
    reconnect_when_told: bool = False  # not at once, but all together, by `Fleet.come_back`
    more_ports: tuple[int, ...] = ()  # clients are spread over `port` and these

    @property
    def authority(self) -> str:
        """The host and port that requests name."""
        return authority(self.host, self.port)

    @property
    def settle_within_s(self) -> float:
        """A bound on the time until every connection was made or given up: the last one's timeout, and slack."""
        return self.schedule.due(self.schedule.count) + self.connect_timeout_s + 5.0

    def port_of(self, index: int) -> int:
        """Each room has clients on each port."""
        ports = (self.port, *self.more_ports)
        return ports[index // self.dialect.rooms % len(ports)]

    def source_address(self, index: int) -> tuple[str, int] | None:
        if self.source_spread == 1:
            return None
        place = index % self.source_spread
        return f"127.77.{place // 250}.{place % 250 + 1}", 0
