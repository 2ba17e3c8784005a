"""Streams that do not answer, or do not store, on a real NATS: the others go on, and they come back by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_making import ensure_stream
from services.chassis.nats.streams import StreamState, stream_state
from services.edge.broker import log_streams_nats
from services.edge.broker.broker import BrokerAway, ChannelAddress
from services.edge.broker.broker_nats import NatsBroker
from services.edge.broker.stream_gates_nats import DoesNotStore, StreamGates, kind_of
from tests.contract.broker import CHAT, CLASSES, NEWS, Listener, publication, store
from tests.edge.broker.test_broker_nats import PARTITIONS, broker
from tests.edge.broker.test_publish_failures import HUNDRED_KB, cause
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


CHAT_STREAM = subjects.log_address("chat", PARTITIONS, CHAT.channel).stream


def news(number: int) -> ChannelAddress:
    return ChannelAddress(f"news:{number}", "news")


def in_second(address: ChannelAddress) -> bool:
    """Whether the channel is in the second of two streams."""
    return subjects.log_address("news", 2, address.channel).stream == "CH_news_1"


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


async def test_an_edge_that_starts_uses_no_stream_most_of_whose_servers_are_away(nats_server, monkeypatch):
    """Its leader goes on to tell its state for a while, and acknowledges nothing."""
    majority, states = True, stream_state

    async def state(link: NatsLink, name: str) -> StreamState | None:
        found = await states(link, name)
        return None if found is None else replace(found, has_majority=majority or not name.startswith("CH_chat"))

    monkeypatch.setattr(log_streams_nats, "stream_state", state)
    async with broker(nats_server.url, Listener()):
        majority = False
        async with broker(nats_server.url, Listener()) as starts:
            assert starts.available and starts.health.answers(NEWS) and not starts.health.answers(CHAT)
            majority = True
            await eventually(lambda: starts.health.answers(CHAT))
            await store(starts, CHAT, 1)


async def test_a_question_from_before_a_stream_was_opened_does_not_shut_it_again(nats_server, monkeypatch):
    asked, times_out, states = asyncio.Event(), asyncio.Event(), stream_state

    async def state(link: NatsLink, name: str) -> StreamState | None:
        if name == CHAT_STREAM and not asked.is_set():
            asked.set()
            await times_out.wait()
            raise NatsAway("no answer in time", "timeout")
        return await states(link, name)

    async with broker(nats_server.url, Listener()) as a:
        monkeypatch.setattr(log_streams_nats, "stream_state", state)
        monkeypatch.setattr(log_streams_nats, "ask_again", lambda ask, timeout_s: ask())
        reading = asyncio.create_task(a.state(CHAT))
        await asked.wait()
        a.gates.shut(CHAT_STREAM, NatsAway("no answer in time", "timeout"))
        a.gates.open(CHAT_STREAM)
        times_out.set()
        with pytest.raises(BrokerAway):
            await reading
        assert a.health.answers(CHAT)


async def test_a_reconnected_edge_does_not_wait_for_the_first_stream_of_its_namespace(nats_server, monkeypatch):
    """With a server of a cluster some streams have lost their leader, and answer nothing for seconds."""
    waits, ensure, hangs = asyncio.Event(), ensure_stream, False

    async def ensured(link: NatsLink, config: Any) -> StreamState:
        if hangs and config.name == "CH_news_0":
            await waits.wait()
        return await ensure(link, config)

    monkeypatch.setattr(log_streams_nats, "ensure_stream", ensured)
    async with broker(nats_server.url, Listener(), {"news": CLASSES["news"]}, partitions=2) as a:
        of_second = next(each for each in map(news, range(20)) if in_second(each))
        hangs = True
        nats_server.kill9()
        await eventually(lambda: not a.available)
        nats_server.start()
        await eventually(lambda: a.available)
        await store(a, of_second, 1)
        assert not a.health.answers(next(each for each in map(news, range(20)) if not in_second(each)))
        waits.set()
        await eventually(lambda: not a.health.unavailable())


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


class Connected:
    """A link that is connected, of which nothing is asked."""

    is_connected = True

    async def request(self, *args: object, **options: object) -> None:
        raise NatsAway("nothing is asked of it")


@asynccontextmanager
async def gates(check: Callable[[str, bool], Any]) -> AsyncIterator[tuple[StreamGates, list[str]]]:
    """Gates whose streams are checked by `check`, and the streams that were opened."""
    opened: list[str] = []
    made = StreamGates(Connected(), check, lambda stream: None, opened.append)  # type: ignore[arg-type]  # a double
    try:
        yield made, opened
    finally:
        made.stop()


async def test_a_check_begins_anew_when_the_stream_has_a_leader_again():
    """What was asked of a stream without a leader is never answered."""
    checks: list[str] = []

    async def check(stream: str, storing: bool) -> None:
        checks.append(stream)
        if len(checks) == 1:
            await asyncio.Event().wait()

    async with gates(check) as (some, opened):
        some.shut("S", NatsAway("no answer in time", "timeout"))
        await eventually(lambda: checks)
        some.poke("S")
        await eventually(lambda: opened == ["S"])
        assert checks == ["S", "S"] and some.of("S") is None


async def test_a_stream_that_does_not_answer_is_not_said_to_lack_storage():
    """After a publish that was not acknowledged, as when the server that leads it has died."""

    async def check(stream: str, storing: bool) -> None:
        if "full" in stream:
            raise DoesNotStore(NatsAway("no answer in time", "timeout"))
        raise NatsAway("no answer in time", "timeout")

    async with gates(check) as (some, _):
        some.unstored("LEADERLESS")
        some.unstored("full")
        await eventually(lambda: some.of("LEADERLESS") is not None and some.of("full") is not None)
        shut, full = some.of("LEADERLESS"), some.of("full")
        assert shut is not None and shut.stores and "does not answer" in shut.why
        assert full is not None and not full.stores and "does not acknowledge" in full.why
        assert some.not_storing == 1 and shut.to_store and full.to_store


async def test_a_stream_that_did_not_store_is_opened_when_it_has_stored_something():
    asked: list[bool] = []

    async def check(stream: str, storing: bool) -> None:
        asked.append(storing)
        some.open(stream)  # as the check of a stream does, which answers
        if len(asked) < 3:
            raise DoesNotStore(NatsRefused("full", "storage"))

    async with gates(check) as (some, opened):
        some.shut("S", NatsRefused("full", "storage"), stores=False)
        await eventually(lambda: opened == ["S"])
        assert asked == [True, True, True]


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
