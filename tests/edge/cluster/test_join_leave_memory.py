from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.edge.cluster.join_leave import JoinLeave
from services.edge.cluster.join_leave_memory import MemoryJoinLeave
from tests.contract.join_leave import JoinLeaveContract, Listener
from tests.support.breakable import BreakableJoinLeave


class TestMemoryJoinLeave(JoinLeaveContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[JoinLeave, JoinLeave, Listener, Listener]]:
        all_edges: list[MemoryJoinLeave] = []
        a, b, heard_a, heard_b = BreakableJoinLeave(all_edges), BreakableJoinLeave(all_edges), Listener(), Listener()
        a.start(heard_a)
        b.start(heard_b)
        yield a, b, heard_a, heard_b

    async def settled(self, join_leave: JoinLeave) -> None:
        pass

    async def take_away(self, join_leave: JoinLeave) -> None:
        assert isinstance(join_leave, BreakableJoinLeave)
        join_leave.away = True
