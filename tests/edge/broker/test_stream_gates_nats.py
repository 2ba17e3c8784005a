"""Streams that do not answer, or do not store, on a real NATS: the others go on, and they come back by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.stream_making import ensure_stream
from services.chassis.nats.streams import StreamState, stream_state
from services.edge.broker import log_streams_nats
from services.edge.broker.broker import BrokerAway, ChannelAddress
from services.edge.broker.broker_nats import NatsBroker
from services.edge.broker.stream_gates_nats import kind_of
from tests.contract.broker import CHAT, NEWS, Listener, publication, store
from tests.edge.broker.test_broker_nats import broker
from tests.edge.broker.test_publish_failures import HUNDRED_KB, cause
from tests.support.eventually import eventually
from tests.support.servers_native import NativeNats

pytestmark = pytest.mark.integration


class Silent:
    """Streams whose name begins with one of `names` do not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: tuple[str, ...] = ()
        self._state, self._ensure = stream_state, ensure_stream
        monkeypatch.setattr(log_streams_nats, "stream_state", self.stream_state)
        monkeypatch.setattr(log_streams_nats, "ensure_stream", self.ensure_stream)

    async def stream_state(self, link: NatsLink, name: str) -> StreamState | None:
        self._hear(name)
        return await self._state(link, name)

    async def ensure_stream(self, link: NatsLink, config: Any) -> StreamState:
        self._hear(config.name)
        return await self._ensure(link, config)

    def _hear(self, name: str) -> None:
        if name.startswith(self.names or "none"):
            raise NatsAway("no answer in time", "timeout")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Silent:
    return Silent(monkeypatch)


class Checked(Listener):
    """Counts how often its edge has to look whether it missed something."""

    checks = 0

    def logs_checked(self) -> None:
        self.checks += 1


async def refused(of: NatsBroker, address: ChannelAddress) -> bool:
    """Whether all calls about a channel are refused as temporary errors."""
    for call in (of.publish(address, publication(1)), of.read(address, 0, 1), of.newest(address)):
        with pytest.raises(BrokerAway):
            await call
    return True


async def test_an_edge_starts_although_some_streams_do_not_answer_and_uses_them_once_they_do(
    nats_server, silent, caplog
):
    caplog.set_level("INFO")
    async with broker(nats_server.url, Listener()) as other:
        await store(other, NEWS, 1)
        silent.names = ("CH_news",)
        heard = Checked()
        async with broker(nats_server.url, heard) as a:
            assert a.available and a.health.answers(CHAT) and not a.health.answers(NEWS)
            await store(a, CHAT, 1)
            assert await refused(a, NEWS)
            assert a.health.unavailable()["news", "history"] and not a.health.unavailable()["chat", "history"]
            assert "CH_news_0" in (a.health.remark() or "")
            await eventually(
                lambda: any("CH_news_0" in each.message for each in caplog.records if each.levelname == "WARNING")
            )
            silent.names = ()
            await eventually(lambda: a.health.answers(NEWS))
            (entry,) = (await a.read(NEWS, 0, 10)).entries
            assert entry.publication is not None
            await eventually(lambda: not a.health.unavailable() and a.health.remark() is None)
            await eventually(lambda: "can be used again" in caplog.text)


async def test_how_many_streams_a_namespace_has_is_learned_from_those_that_answer(nats_server, silent):
    async with broker(nats_server.url, Listener(), partitions=2):
        silent.names = ("CH_news_0",)
        async with broker(nats_server.url, Listener(), partitions=3) as a:
            of_second = [
                each for number in range(20) if a.health.answers(each := ChannelAddress(f"news:{number}", "news"))
            ]
            assert 0 < len(of_second) < 20
            await store(a, of_second[0], 1)
            silent.names = ()
            await eventually(lambda: all(a.health.answers(ChannelAddress(f"news:{n}", "news")) for n in range(20)))


async def test_after_a_reconnect_nothing_is_taken_of_a_stream_before_it_was_checked(nats_server, silent):
    heard = Checked()
    async with broker(nats_server.url, Listener()) as other, broker(nats_server.url, heard) as a:
        for address in (CHAT, NEWS):
            await a.open(address)
            await a.newest(address)
            await store(other, address, 1)
        await eventually(lambda: len(heard.lives) == 2)
        nats_server.kill9()
        await eventually(lambda: not a.available and not other.available)
        silent.names = ("CH_news",)
        nats_server.start()
        await eventually(lambda: a.available and other.available)
        assert a.health.answers(CHAT) and not a.health.answers(NEWS)
        await store(other, CHAT, 2)
        await eventually(lambda: len(heard.lives) == 3)
        checks = heard.checks
        silent.names = ()
        await eventually(lambda: a.health.answers(NEWS) and other.health.answers(NEWS))
        assert heard.checks > checks, "the edge looks what it missed there, without a reconnect"
        await store(other, NEWS, 2)
        await eventually(lambda: len(heard.lives) == 4)


async def test_what_comes_live_of_a_stream_that_is_shut_is_not_taken(nats_server, silent):
    heard = Checked()
    async with broker(nats_server.url, Listener()) as other, broker(nats_server.url, heard) as a:
        await a.open(NEWS)
        await a.newest(NEWS)
        await store(other, NEWS, 1)
        await eventually(lambda: len(heard.lives) == 1)
        for stream in ("CH_news_0", "CH_news_1", "CH_news_2"):
            a.gates.shut(stream, NatsAway("no answer in time", "timeout"))
        silent.names = ("CH_news",)
        await store(other, NEWS, 2)
        await a.state(CHAT)  # behind the live message on the same connection
        assert len(heard.lives) == 1
        silent.names = ()
        await eventually(lambda: a.health.answers(NEWS) and heard.checks)
        assert (await a.audit({NEWS: heard.lives[0][1].sequence})).behind, "and is found then"


@pytest.fixture
def native_nats(tmp_path: Path) -> Iterator[NativeNats]:
    server = NativeNats(tmp_path / "nats")
    try:
        server.start()
        yield server
    finally:
        server.close()


async def test_a_full_store_gives_the_temporary_error_at_once_and_goes_on_when_there_is_room(native_nats, caplog):
    async with broker(native_nats.url, Listener()) as a:
        for number in range(20):
            await a.publish(ChannelAddress(f"news:{number}", "news"), HUNDRED_KB)
        native_nats.stop()
        native_nats.configure("jetstream { max_file_store: 1MB }")
        native_nats.start()
        await eventually(lambda: _fails_for_storage(a))
        assert a.health.not_storing and "JetStream does not store" in (a.health.remark() or "")
        native_nats.stop()
        native_nats.configure("")
        native_nats.start()
        await eventually(lambda: _stores(a))
        await eventually(lambda: not a.health.not_storing)


async def _fails_for_storage(of: NatsBroker) -> bool:
    with pytest.raises(BrokerAway) as failed:
        await of.publish(CHAT, HUNDRED_KB)
    return failed.value.cause == "storage"


async def _stores(of: NatsBroker) -> bool:
    return await cause(of) == ""


@pytest.mark.parametrize(("stream", "kind"), [("CH_chat_0", "history"), ("KEYS", "keys"), ("MARKS", "marks")])
def test_streams_have_kinds(stream: str, kind: str) -> None:
    assert kind_of(stream) == kind
