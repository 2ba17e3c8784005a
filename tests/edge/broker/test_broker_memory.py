from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from services.chassis.process.settings import Duration
from services.edge.broker import logs_memory
from services.edge.broker.broker import Broker, BrokerRefused, ChannelAddress
from services.edge.broker.broker_memory import MemoryBroker
from services.edge.broker.logs_memory import MemoryLogs
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, NEWS, PLAIN, BrokerContract, Listener, publication, store
from tests.support.breakable import BreakableBroker, BreakableLogs


class TestMemoryBroker(BrokerContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Broker, Broker, Listener, Listener]]:
        shared = BreakableLogs(CLASSES)
        a, b, heard_a, heard_b = BreakableBroker(shared), BreakableBroker(shared), Listener(), Listener()
        await a.start(heard_a)
        await b.start(heard_b)
        yield a, b, heard_a, heard_b

    async def take_away(self, broker: Broker) -> None:
        assert isinstance(broker, BreakableBroker)
        broker.go_away()


class TestBounds:
    """The memory of a broker in memory is bounded: the oldest entries are dropped."""

    async def made(self, now: Callable[[], float] = lambda: 0.0) -> MemoryBroker:
        broker = MemoryBroker(MemoryLogs(CLASSES, now))
        await broker.start(Listener())
        return broker

    async def test_old_publications_expire(self) -> None:
        now = 0.0
        broker = await self.made(lambda: now)
        await store(broker, CHAT, 1)
        now = 1800.0
        await store(broker, CHAT, 2)
        now = 3600.0
        assert [entry.sequence for entry in (await broker.read(CHAT, 0, 10)).entries] == [2]
        assert (await broker.state(CHAT)).first == 2

    async def test_the_channels_of_a_namespace_share_their_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logs_memory, "MAX_LOG_BYTES", 10_000)
        broker = await self.made()
        for number in range(8):
            await store(broker, ChannelAddress(f"news:{number}", "news"), "x" * 1900)
        state = await broker.state(NEWS)
        assert (state.first, state.last) == (5, 8)
        assert await broker.newest(ChannelAddress("news:0", "news")) is None
        assert await broker.newest(ChannelAddress("news:7", "news")) is not None

    async def test_a_full_namespace_that_refuses_keeps_what_it_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = ChannelOptions(
            history_size=2, history_ttl=Duration(60), history_max_bytes=10_000, history_when_full="refuse"
        )
        monkeypatch.setitem(CLASSES, "news", options)
        broker = await self.made()
        for number in range(4):
            await store(broker, ChannelAddress(f"news:{number % 2}", "news"), "x" * 1900)
        with pytest.raises(BrokerRefused, match="history_max_bytes"):
            await store(broker, ChannelAddress("news:2", "news"), "x" * 1900)
        await store(broker, ChannelAddress("news:0", "news"), "y" * 1900)  # in the place of its oldest
        assert (await broker.state(NEWS)).last == 5
        await store(broker, CHAT, "z" * 1900)

    async def test_idempotency_keys_are_forgotten_by_age_and_by_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logs_memory, "MAX_KEYS", 3)
        now = 0.0
        broker = await self.made(lambda: now)
        first = await store(broker, NEWS, 1, "a")
        assert await store(broker, NEWS, 1, "a") == first
        for key in ("b", "c", "d"):
            await store(broker, NEWS, 1, key)
        second = await store(broker, NEWS, 1, "a")
        assert second.offset > first.offset
        now = 300.0
        assert (await store(broker, NEWS, 1, "a")).offset > second.offset

    async def test_too_large_a_publication_is_refused(self) -> None:
        broker = await self.made()
        for address in (CHAT, PLAIN):
            with pytest.raises(BrokerRefused):
                await broker.publish(address, publication("x" * 1024 * 1024))
        with pytest.raises(BrokerRefused):
            await broker.publish_past_log(CHAT, publication("x" * 1024 * 1024))

    async def test_each_process_has_epochs_of_its_own(self) -> None:
        assert (await self.made()).epoch(CHAT) != (await self.made()).epoch(CHAT)
