"""Limits how many clients come in, for the edge and for each address, before any token is read. Pure.

An address is an IPv4 address, or an IPv6 network /64: a household, or a machine, is given a whole one.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network
from typing import Final, NamedTuple

from services.edge.limit_settings import LimitsSection
from services.edge.token_buckets import TokenBuckets

RESERVED_DESCRIPTORS: Final = 256
"""File descriptors for everything but clients: NATS, logs, health checks, calls, and clients that are refused."""
RETRY_FULL_S: Final = 5
"""After how many seconds a client may try again, if there are too many clients already."""
ALWAYS_OF_ADDRESS: Final = 16
"""Clients that one address may have even on the smallest edge. On others, at most half of the edge's own limit."""
CROWD: Final = 100
"""If a private address has this many clients, the operator is told: it may be a proxy that is not configured as one."""
_EDGE: Final = "edge"

HTTP_STATUS: Final = {429: "429 Too Many Requests", 503: "503 Service Unavailable"}


class TurnedAway(NamedTuple):
    """An HTTP status, the reason, the seconds after which to try again, and the name of the limit."""

    status: int
    why: str
    retry_after: int
    limit: str


def counted_as(address: str) -> str:
    """The address by which a client is counted: its own, or its network /64 if that is an IPv6 address."""
    if ":" not in address:
        return sys.intern(address)
    try:
        prefix = int(IPv6Address(address)) >> 64 << 64
    except ValueError:
        return sys.intern(address)
    return sys.intern(f"{IPv6Address(prefix)}/64")


class Door:
    """Lets clients in or turns them away. `refused` counts refused clients by the name of the limit.

    `descriptors` is how many the process may open. Addresses are given as `counted_as` makes them; "" is unknown, and
    only the edge's limits apply to it. If the edge is full, `make_room` closes a client, and returns whether it did.
    `crowd` is called with the first private address that has many clients.
    """

    def __init__(
        self,
        limits: LimitsSection,
        descriptors: int,
        make_room: Callable[[], bool] = lambda: False,
        crowd: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._make_room = make_room
        self._crowd = crowd
        self._crowd_told = False
        self._descriptors = descriptors
        self._inside = 0
        self._inside_by_address: dict[str, int] = {}
        self.refused: Counter[str] = Counter()
        self.limit(limits)

    def limit(self, limits: LimitsSection) -> None:
        """Applies these limits from now on, with full buckets. Connected clients stay, however many they are."""
        self._most = limits.connections or max(1, self._descriptors - RESERVED_DESCRIPTORS)
        self._most_of_address = min(limits.address_connections, max(self._most // 2, ALWAYS_OF_ADDRESS))
        self._emulations = TokenBuckets(limits.address_emulations)
        self._connects = TokenBuckets(limits.connects)
        self._address_connects = TokenBuckets(limits.address_connects)

    def knock(self, address: str, now: float) -> TurnedAway | None:
        """A client wants to connect. None: it may."""
        if self._is_crowded(address):
            return self._turn_away(429, "address_connections", address, RETRY_FULL_S)
        if address and (wait_s := self._address_connects.take(address, now)):
            return self._turn_away(429, "address_connects", address, wait_s)
        if wait_s := self._connects.take(_EDGE, now):
            turned_away = self._turn_away(503, "connects", address, wait_s)
        elif self._is_full():
            self._connects.give_back(_EDGE, now)
            turned_away = self._turn_away(503, "connections", address, RETRY_FULL_S)
        else:
            return None
        if address:
            self._address_connects.give_back(address, now)
        return turned_away

    def full(self, address: str) -> TurnedAway | None:
        """Why there is no room for one more client of this address. None: there is room."""
        if self._is_crowded(address):
            return self._turn_away(429, "address_connections", address, RETRY_FULL_S)
        if self._is_full():
            return self._turn_away(503, "connections", address, RETRY_FULL_S)
        return None

    def pass_on(self, address: str, now: float) -> TurnedAway | None:
        """A request brings commands for a client of some edge. None: that edge may be asked."""
        if address and (wait_s := self._emulations.take(address, now)):
            return self._turn_away(429, "address_emulations", address, wait_s)
        return None

    def enter(self, address: str) -> None:
        """A client is connected."""
        self._inside += 1
        if address:
            count = self._inside_by_address[address] = self._inside_by_address.get(address, 0) + 1
            if count == CROWD and not self._crowd_told and _is_private(address):
                self._crowd_told = True
                self._crowd(address)

    def leave(self, address: str) -> None:
        """A client that has entered is gone."""
        self._inside -= 1
        if address:
            left = self._inside_by_address[address] - 1
            if left:
                self._inside_by_address[address] = left
            else:
                del self._inside_by_address[address]

    def _is_crowded(self, address: str) -> bool:
        most = self._most_of_address
        return bool(address and most) and self._inside_by_address.get(address, 0) >= most

    def _is_full(self) -> bool:
        return self._inside >= self._most and not self._make_room()

    def _turn_away(self, status: int, limit: str, address: str, wait_s: float) -> TurnedAway:
        name = f"limits.{limit}"
        self.refused[name] += 1
        whose = f"the address {address} has" if limit.startswith("address") else "this edge has"
        return TurnedAway(status, f"{whose} reached {name}", math.ceil(wait_s), name)


def _is_private(address: str) -> bool:
    try:
        return ip_network(address).is_private
    except ValueError:
        return False
