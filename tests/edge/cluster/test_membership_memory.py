from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.edge.cluster.membership import Membership
from services.edge.cluster.membership_memory import MemoryMembership
from tests.contract.membership import Listener, MembershipContract


class TestMemoryMembership(MembershipContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Membership, Membership, Listener, Listener]]:
        everybody: list[MemoryMembership] = []
        a, b, heard_a, heard_b = MemoryMembership(everybody), MemoryMembership(everybody), Listener(), Listener()
        a.start(heard_a)
        b.start(heard_b)
        yield a, b, heard_a, heard_b

    async def settled(self, membership: Membership) -> None:
        pass

    async def take_away(self, membership: Membership) -> None:
        assert isinstance(membership, MemoryMembership)
        membership.away = True
