"""All connections of this edge, and what they share. It knows how many there are, and whether more may come."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TYPE_CHECKING, Final, Protocol

from proto.events import SessionEvent
from services.chassis.process.log import Throttle
from services.edge.backend.backend import Backend, Caller
from services.edge.channels.node import Node
from services.edge.clients.policy import Policy
from services.edge.clients.users import Users
from services.edge.clients.verdicts import Verdicts
from services.edge.session_log import SessionLog
from services.edge.tally import Tally
from services.edge.timing_wheel import TimingWheel

if TYPE_CHECKING:
    from services.edge.clients.connection import Connection


log = logging.getLogger(__name__)

MAX_REFUSAL_TEXTS: Final = 256
"""Kinds of refusals that are counted apart; there are about fifty, and backends may add codes of their own."""


class Clock:
    """Unix time that neither jumps nor goes back within the life of the process."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds."""
        return time.monotonic() + self._offset


class Origins:
    """Which pages may connect: patterns such as "https://*.example.com". Only browsers send an origin."""

    def __init__(self, patterns: list[str]) -> None:
        self._pattern = re.compile("|".join(translate(pattern.lower()) for pattern in patterns)) if patterns else None

    def allow(self, origin: str | None) -> bool:
        """Whether a handshake with this `Origin` header (None when it has none) is accepted."""
        if origin is None:
            return True
        return self._pattern is not None and self._pattern.match(origin.lower()) is not None


class Keys(Protocol):
    """Who finds the keys of tokens."""

    async def wanted(self, kid: str) -> bool:
        """Looks for a key that is not known. False where it could not look: it may be known later."""


class NoKeys:
    """There are none but those of the configuration."""

    async def wanted(self, kid: str) -> bool:
        return True


@dataclass(slots=True)
class EdgeContext:
    """See the module."""

    policy: Policy
    node: Node
    tally: Tally
    timing_wheel: TimingWheel
    clock: Clock
    session_log: SessionLog
    origins: Origins
    backend: Backend
    keys: Keys
    instance: str = ""
    connections: set[Connection] = field(default_factory=set)
    users: Users[Connection] = field(default_factory=Users)
    streams: dict[str, Connection] = field(default_factory=dict)  # clients on HTTP streams, by their secret session
    subscriptions: int = 0
    started: bool = False
    draining: bool = False  # unready: load balancers shall stop sending
    closed_to_new: bool = False  # upgrades are refused
    refusals: dict[str, Throttle] = field(default_factory=dict)  # by what is said, so that none hides the others
    verdicts: Verdicts = field(init=False)

    def __post_init__(self) -> None:
        self.verdicts = Verdicts(self.backend, self.refused)
        self.policy.connections_of = self.users.count

    def unready(self) -> str | None:
        """Why this edge should not be sent new clients, None when it may be."""
        if self.draining:
            return "draining"
        if not self.started:
            return "starting: waiting for NATS and its streams"
        if not self.node.available:
            return "NATS is away"
        return None

    def closed_because(self) -> str | None:
        """Why new clients are refused, None when they are taken."""
        if self.closed_to_new:
            return "this edge is going away"
        return None if self.started else "this edge is starting"

    def refused(self, what: str, why: str) -> None:
        """Says in the log that a client was refused; `why` names neither tokens nor payloads. Not too often.

        `what` is one of a few texts, for each of which "too often" is counted.
        """
        if what not in self.refusals and len(self.refusals) >= MAX_REFUSAL_TEXTS:
            what = "a client was refused"
        held = self.refusals.setdefault(what, Throttle()).allows(self.clock.now())
        if held is not None:
            more = f" ({held} more like this before)" if held else ""
            log.info("%s: %s%s", what, why, more)

    def send_to_backend(self, caller: Caller, data: bytes) -> None:
        """Hands on a client's message that wants no answer; at most once."""
        self.backend.send(data, caller)

    def record(self, event: SessionEvent) -> None:
        self.session_log.record(event)

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)
