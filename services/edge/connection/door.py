"""How many clients come in: limits for the edge and for each address, before any token is read. Pure.

An address is an IPv4 address, or a /64 of IPv6: a household or a machine is given that many.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from services.edge.limit_settings import LimitsSection
from services.edge.token_buckets import TokenBuckets

RESERVED_DESCRIPTORS: Final = 256
"""Of the process, for everything but clients: NATS, logs, health checks, calls, and clients that are refused."""
RETRY_FULL_S: Final = 5
"""After how many seconds a client may try again where there are too many already."""
_EDGE: Final = "edge"

HTTP_STATUS: Final = {429: "429 Too Many Requests", 503: "503 Service Unavailable"}


class TurnedAway(NamedTuple):
    """An HTTP status, the reason, and the seconds after which to try again."""

    status: int
    why: str
    retry_after: int


def counted_as(address: str) -> str:
    """What a client's address counts as: itself, or its /64."""
    if ":" not in address:
        return sys.intern(address)
    try:
        prefix = int(IPv6Address(address)) >> 64 << 64
    except ValueError:
        return sys.intern(address)
    return sys.intern(f"{IPv6Address(prefix)}/64")


class Door:
    """Lets clients in or turns them away. `refused` counts those by the name of the limit.

    `descriptors` is how many the process may open. Addresses are given as `counted_as` makes them; "" is unknown, and
    only the edge's limits are for it.
    """

    def __init__(self, limits: LimitsSection, descriptors: int) -> None:
        self._limits = limits
        self._most = limits.connections or max(1, descriptors - RESERVED_DESCRIPTORS)
        self._connects = TokenBuckets(limits.connects)
        self._address_connects = TokenBuckets(limits.address_connects)
        self._inside = 0
        self._inside_by_address: dict[str, int] = {}
        self.refused: Counter[str] = Counter()

    def knock(self, address: str, now: float) -> TurnedAway | None:
        """A client wants to connect. None: it may."""
        if turned_away := self.full(address):
            return turned_away
        if address and (wait_s := self._address_connects.take(address, now)):
            return self._turn_away(429, "address_connects", address, wait_s)
        if wait_s := self._connects.take(_EDGE, now):
            return self._turn_away(503, "connects", address, wait_s)
        return None

    def full(self, address: str) -> TurnedAway | None:
        """Whether there are too many clients for one more of this address. None: there are not."""
        most = self._limits.address_connections
        if address and most and self._inside_by_address.get(address, 0) >= most:
            return self._turn_away(429, "address_connections", address, RETRY_FULL_S)
        if self._inside >= self._most:
            return self._turn_away(503, "connections", address, RETRY_FULL_S)
        return None

    def enter(self, address: str) -> None:
        """A client is connected."""
        self._inside += 1
        if address:
            self._inside_by_address[address] = self._inside_by_address.get(address, 0) + 1

    def leave(self, address: str) -> None:
        """A client that has entered is gone."""
        self._inside -= 1
        if address:
            left = self._inside_by_address[address] - 1
            if left:
                self._inside_by_address[address] = left
            else:
                del self._inside_by_address[address]

    def _turn_away(self, status: int, limit: str, address: str, wait_s: float) -> TurnedAway:
        self.refused[f"limits.{limit}"] += 1
        whose = f"the address {address} has" if limit.startswith("address") else "this edge has"
        return TurnedAway(status, f"{whose} reached limits.{limit}", math.ceil(wait_s))
