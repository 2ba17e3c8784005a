"""An edge that is short of memory: not ready, then without its slowest clients, who reconnect."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from proto import codes
from proto.events import Closed
from services.edge.backend.backend import Caller
from services.edge.connection.memory_guard import SETTLE_S, SHED_PER_S, MemoryLimits
from services.edge.connection.memory_watch import (
    COLLECT_S,
    CONNECTION_BYTES,
    GIVE_BACK_MAX_S,
    GIVE_BACK_S,
    KERNEL_BYTES,
    MemoryWatch,
)
from tests.edge.cluster.edges_nats import heartbeat
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend

SOFT, HARD = 1_000_000, 2_000_000


@dataclass
class Short:
    """An edge with limits. `base` is what it uses without clients. What they took is back when `gives_back`."""

    edge: TestEdge
    base: int = 0
    gives_back: bool = True
    talks: list[Talk] = field(default_factory=list)
    gave_back: int = 0
    collected: int = 0
    freed_by_collecting: int = 0
    _kept: int = 0

    def __post_init__(self) -> None:
        limits = MemoryLimits(SOFT, HARD)
        self.watch = MemoryWatch(self.edge.context, limits, self.resident, self.give_back, self.collect)

    def resident(self) -> int:
        of_clients = sum(CONNECTION_BYTES - KERNEL_BYTES + talk.transport.waiting for talk in self.talks)
        return self.base + of_clients + self._kept

    def give_back(self) -> None:
        self.gave_back += 1
        self._kept = 0 if self.gives_back else self._kept

    def leave_in_pieces(self, size: int) -> None:
        """So many bytes are free, and not given back yet."""
        self._kept += size

    def collect(self) -> None:
        self.collected += 1
        self.base -= self.freed_by_collecting

    async def client(self, slow: bool = False, waiting: int = 0) -> Talk:
        talk = await connected(self.edge)
        talk.transport.waiting = waiting
        if slow:
            talk.connection.pause_writing()
        self.talks.append(talk)
        return talk

    async def second(self) -> None:
        """One sample; whoever was closed is gone a second later."""
        await self.watch.sample()
        self.edge.clock.time += 1
        for talk in [each for each in self.talks if not each.open]:
            self._kept += CONNECTION_BYTES - KERNEL_BYTES + talk.transport.waiting
            self.talks.remove(talk)
            talk.connection.lost()

    def unready(self) -> str | None:
        return self.edge.context.admission.unready()

    def refusal(self) -> str | None:
        return self.edge.context.admission.refusal()


@pytest.fixture
async def short() -> Short:
    return Short(await TestEdge(EdgeCluster()).start())


async def test_above_the_soft_limit_it_is_not_ready_and_keeps_its_clients(short: Short) -> None:
    short.edge.cluster.heard(heartbeat("with-room", has_room=True))
    talk = await short.client(slow=True, waiting=50_000)
    await short.second()
    assert not short.unready()
    short.base = SOFT
    await short.second()
    assert short.unready() == "memory is above edge.memory_soft_limit, and another edge has room"
    assert short.refusal() is None and talk.open, "who comes all the same is taken, who is there stays"
    short.base = SOFT * 96 // 100 - 50_000
    await short.second()
    assert short.unready() is not None, "not yet well below it"
    short.base = SOFT * 9 // 10 - 50_000
    await short.second()
    assert short.unready() is None and talk.open


async def test_above_the_hard_limit_the_slowest_go_first_with_a_code_to_reconnect(short: Short) -> None:
    fast = [await short.client(waiting=60_000) for _ in range(3)]
    slow = [await short.client(slow=True, waiting=waiting) for waiting in (100_000, 300_000, 200_000)]
    short.base = HARD + 350_000 - short.watch.used
    await short.second()
    assert [talk.closed for talk in slow] == [0, codes.FORCE_RECONNECT.code, codes.FORCE_RECONNECT.code]
    assert all(talk.open for talk in fast)
    assert short.refusal() == "this edge is short of memory" and "hard" in (short.unready() or "")
    assert short.edge.tally.shed == 2 == short.edge.tally.closes[codes.FORCE_RECONNECT.code]
    ended = [event for event in short.edge.sessions.events if isinstance(event, Closed)]
    assert [event.code for event in ended] == [3011, 3011] and codes.FORCE_RECONNECT.reconnect
    for _ in range(10):
        await short.second()
    assert short.edge.tally.shed == 2, "no more than needed"
    short.base = 0
    await short.second()
    assert (short.refusal(), short.unready()) == (None, None)


async def test_a_client_that_is_not_slow_goes_when_there_is_no_slow_one_left(short: Short) -> None:
    talks = [await short.client() for _ in range(20)]
    short.base = HARD + 3 * CONNECTION_BYTES - short.watch.used
    await short.second()
    assert sum(not talk.open for talk in talks) == 3


async def test_many_are_closed_over_several_seconds(short: Short) -> None:
    for _ in range(SHED_PER_S + 100):
        await short.client()
    short.base = HARD - 50 * CONNECTION_BYTES
    await short.second()
    assert short.edge.tally.shed == SHED_PER_S
    await short.second()
    assert short.edge.tally.shed == SHED_PER_S + 50


async def test_a_client_that_leaves_once_its_call_is_answered_is_told_once() -> None:
    answer = asyncio.Event()

    async def slowly(data: bytes, caller: Caller | None) -> bytes:
        await answer.wait()
        return b'{"result": 1}'

    backend = FunctionBackend({"slowly": slowly})
    short = Short(await TestEdge(EdgeCluster(), backend=backend).start())
    busy = await short.client()
    busy.say({"id": 2, "rpc": {"method": "slowly", "data": None}})
    busy.transport.waiting = 100_000
    busy.connection.pause_writing()
    others = [await short.client(slow=True) for _ in range(3)]
    short.base = HARD + 1 - short.watch.used
    await short.second()
    assert short.edge.tally.shed == 1 and all(talk.open for talk in [busy, *others])
    short.base += 100_000 + CONNECTION_BYTES
    await short.second()
    assert busy.open and sum(talk.open for talk in others) == 2, "memory has grown: another one goes"
    answer.set()
    await eventually(lambda: not busy.open)
    assert short.edge.tally.shed == 2 == short.edge.tally.closes[codes.FORCE_RECONNECT.code]


async def test_what_is_free_is_given_back_before_anybody_is_closed(short: Short) -> None:
    await short.client(slow=True, waiting=100_000)
    short.base, short.freed_by_collecting = HARD, HARD // 2
    await short.second()
    assert short.collected == 1 <= short.gave_back and not short.edge.tally.shed
    for _ in range(5):
        await short.second()
    assert short.collected == 1, "it stops the event loop for a while"
    short.base, short.freed_by_collecting = HARD, 0
    short.edge.clock.time += COLLECT_S
    await short.second()
    assert [short.collected, short.edge.tally.shed] == [2, 1]


async def test_above_the_hard_limit_garbage_is_looked_for_once_until_memory_is_below_it_again(short: Short) -> None:
    """The event loop stands still meanwhile, and does so for nothing while memory stays where it is."""
    short.base = 2 * HARD
    for _ in range(5 * int(COLLECT_S)):
        await short.second()
    assert short.collected == 1
    short.base = SOFT * 3 // 2
    await short.second()
    short.base = 2 * HARD
    await short.second()
    assert short.collected == 2, "it came above the limit again"


async def test_what_is_free_is_given_back_more_rarely_while_that_frees_hardly_anything(short: Short) -> None:
    short.base = SOFT * 3 // 2
    for _ in range(int(10 * GIVE_BACK_MAX_S)):
        await short.second()
    assert 10 <= short.gave_back <= 14
    for _ in range(int(GIVE_BACK_MAX_S)):
        short.leave_in_pieces(SOFT // 10)
        await short.second()
    before = short.gave_back
    for _ in range(int(4 * GIVE_BACK_S)):
        short.leave_in_pieces(SOFT // 10)
        await short.second()
    assert short.gave_back == before + 4, "as often as at first, as it frees something again"


async def test_what_clients_left_who_went_by_themselves_is_given_back_soon(short: Short) -> None:
    talks = [await short.client() for _ in range(20)]
    short.base = SOFT * 3 // 2
    for _ in range(int(10 * GIVE_BACK_MAX_S)):
        await short.second()
    await short.second()
    before = short.gave_back
    for talk in talks:
        talk.connection.lost()
        short.talks.remove(talk)
    for _ in range(int(GIVE_BACK_S) + 1):
        await short.second()
    assert short.gave_back == before + 1


async def test_below_its_limits_it_neither_collects_nor_gives_back(short: Short) -> None:
    short.base = SOFT
    for _ in range(5):
        await short.second()
    assert not short.collected and not short.gave_back


async def test_what_waits_is_shared_or_its_own_it_ends_below_the_limit(short: Short) -> None:
    """A frame that a hundred subscribers wait for is in memory once: closing one of them frees little."""
    for _ in range(100):
        await short.client(slow=True, waiting=100_000)
    shared = 100 * 100_000
    short.base = HARD + 400_000 - short.watch.used
    short.resident = lambda: short.base + shared + sum(CONNECTION_BYTES - KERNEL_BYTES for _ in short.talks)  # type: ignore[method-assign]
    short.watch = MemoryWatch(short.edge.context, MemoryLimits(SOFT, HARD), short.resident, lambda: None, lambda: None)
    for _ in range(20 * int(SETTLE_S)):
        await short.second()
    assert short.watch.used <= HARD and 400_000 // CONNECTION_BYTES <= short.edge.tally.shed < 100


async def test_where_it_is_not_clients_who_take_the_memory_only_slow_ones_are_closed(
    short: Short, caplog: pytest.LogCaptureFixture
) -> None:
    talks = [await short.client() for _ in range(30)]
    slow = await short.client(slow=True, waiting=100_000)
    short.base = 2 * HARD
    with caplog.at_level(logging.ERROR):
        for _ in range(30):
            await short.second()
    assert all(talk.open for talk in talks) and not slow.open
    assert sum("closing clients does not help" in record.message for record in caplog.records) == 1
    assert short.refusal() is not None


async def test_without_limits_nothing_is_watched(short: Short) -> None:
    watch = MemoryWatch(short.edge.context, MemoryLimits(0, 0), lambda: 1 << 60, lambda: None, lambda: None)
    await watch.run()
    await watch.sample()
    assert short.unready() is None
