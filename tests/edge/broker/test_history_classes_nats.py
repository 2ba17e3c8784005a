"""The history classes of a broker that runs are replaced: as a whole, or not at all."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw
from msgspec.structs import replace
from nats.js.api import StreamConfig

from proto.messages import Publication
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_making import ensure_stream
from services.chassis.nats.streams import StreamState
from services.chassis.process.settings import Duration
from services.edge.broker import log_streams_nats
from services.edge.broker.broker import BrokerAway, BrokerRefused, ChannelAddress, LogEntry
from services.edge.broker.broker_memory import MemoryBroker
from services.edge.broker.log_setup_nats import MAX_KEYS_BYTES
from services.edge.broker.logs_memory import MemoryLogs
from services.edge.broker.stream_marks_nats import MAX_BYTES as MAX_MARKS_BYTES
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, Listener, store
from tests.edge.broker.test_broker_nats import broker
from tests.edge.broker.test_stream_gates_nats import Silent
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers_native import NativeNats

KEPT = ChannelOptions(history_size=10, history_ttl=Duration(3600), history_max_bytes=4 * 1024 * 1024)
NEWS = ChannelAddress("fresh:x", "fresh")
SAID = Publication(data=Raw(b"1"))


async def limits_of(url: str, stream: str) -> tuple[int, int]:
    """The most messages of a channel, and the bytes."""
    async with linked(url) as link:
        config = (await link.stream_manager().stream_info(stream)).config
        return int(config.max_msgs_per_subject or 0), int(config.max_bytes or 0)


def sequence_of(entry: LogEntry | None) -> int:
    return 0 if entry is None else entry.sequence


@pytest.mark.integration
async def test_a_new_class_is_stored_and_a_changed_one_keeps_its_log(nats_server):
    async with broker(nats_server.url, Listener(), {**CLASSES, "old": KEPT}, partitions=2) as a:
        first = await store(a, CHAT, 1)
        epoch = a.epoch(CHAT)
        changed = {name: replace(options, history_size=7) for name, options in CLASSES.items()}
        await a.classes.adopt({**changed, "old": KEPT, "fresh": KEPT})
        assert (await a.newest(NEWS)) is None
        position = await store(a, NEWS, 1)
        assert sequence_of(await a.newest(NEWS)) == position.offset
        assert (await limits_of(nats_server.url, "CH_chat_0"))[0] == 7
        assert (await a.read(CHAT, 0, 10)).entries[0].sequence == first.offset and a.epoch(CHAT) == epoch


@pytest.mark.integration
async def test_the_streams_of_a_class_that_is_gone_are_left_alone_and_not_made_again(nats_server):
    async with broker(nats_server.url, Listener(), {**CLASSES, "fresh": KEPT}, partitions=1) as a:
        await a.publish(NEWS, SAID)
        await a.classes.adopt(CLASSES)
        async with linked(nats_server.url) as link:
            manager = link.stream_manager()
            assert (await manager.stream_info("CH_fresh_0")).state.messages >= 1, "what it has stays"
            await manager.delete_stream("CH_fresh_0")
            await store(a, CHAT, 1)
            await a.audit({CHAT: 0})
            with pytest.raises((BrokerAway, BrokerRefused)):
                await a.read(NEWS, 0, 1)  # by whoever still uses it
            names = {info.config.name for info in await manager.streams_info()}
            assert "CH_fresh_0" not in names and "CH_chat_0" in names
        await a.classes.adopt({**CLASSES, "fresh": KEPT})
        assert (await store(a, NEWS, 1)).offset > 0


@pytest.mark.integration
async def test_how_many_streams_a_class_has_that_was_gone_is_learned_anew(nats_server):
    """Two edges must never disagree on that."""
    async with broker(nats_server.url, Listener(), {**CLASSES, "fresh": KEPT}, partitions=1) as a:
        await a.classes.adopt(CLASSES)
        async with linked(nats_server.url) as link:
            await link.stream_manager().delete_stream("CH_fresh_0")
        async with broker(nats_server.url, Listener(), {"fresh": KEPT}, partitions=4) as b:
            await a.classes.adopt({**CLASSES, "fresh": KEPT})
            for number in range(8):
                address = ChannelAddress(f"fresh:{number}", "fresh")
                position = await store(a, address, 1)
                assert sequence_of(await b.newest(address)) == position.offset


@pytest.mark.integration
async def test_what_nats_refuses_leaves_everything_as_it_was(nats_server):
    async with broker(nats_server.url, Listener(), CLASSES, partitions=1) as a:
        before = await limits_of(nats_server.url, "CH_chat_0")
        changed = {name: replace(options, history_size=7) for name, options in CLASSES.items()}
        with pytest.raises(NatsRefused, match="insufficient storage"):
            await a.classes.adopt({**changed, "fresh": replace(KEPT, history_max_bytes=10**17)})
        assert await limits_of(nats_server.url, "CH_chat_0") == before
        await store(a, CHAT, 1)
        nats_server.kill9()
        await eventually(lambda: not a.available)
        for wanted in ({**changed, "fresh": KEPT}, changed):
            with pytest.raises(NatsAway):
                await a.classes.adopt(wanted)
        nats_server.start()
        await eventually(lambda: a.available)
        assert await limits_of(nats_server.url, "CH_chat_0") == before


@pytest.mark.integration
async def test_a_stream_that_is_shut_is_changed_once_it_answers(nats_server, monkeypatch):
    silent = Silent(monkeypatch)
    async with broker(nats_server.url, Listener(), CLASSES, partitions=2) as a:
        silent.names = ("CH_chat_1",)
        a.gates.shut("CH_chat_1", NatsAway("no answer in time", "timeout"))
        await a.classes.adopt({**CLASSES, "chat": replace(CLASSES["chat"], history_size=7)})
        assert (await limits_of(nats_server.url, "CH_chat_0"))[0] == 7
        assert [name for name, kind in a.health.unavailable()] == ["chat"]
        silent.names = ()
        await eventually(lambda: not a.health.unavailable())
        assert (await limits_of(nats_server.url, "CH_chat_1"))[0] == 7


@pytest.mark.integration
@pytest.mark.parametrize("stream", ["CH_chat_0", "CH_chat_1"])
async def test_a_stream_in_use_whose_change_is_not_answered_refuses_it_and_goes_on(nats_server, monkeypatch, stream):
    """So it is while a cluster elects who changes streams: they store meanwhile."""
    silent = Silent(monkeypatch)
    async with broker(nats_server.url, Listener(), CLASSES, partitions=2) as a:
        before = [await limits_of(nats_server.url, f"CH_chat_{number}") for number in (0, 1)]
        silent.names = (stream,)
        wanted = {**CLASSES, "chat": replace(CLASSES["chat"], history_size=7)}
        with pytest.raises(NatsAway):
            await a.classes.adopt(wanted)
        assert not a.health.unavailable()
        assert [await limits_of(nats_server.url, f"CH_chat_{number}") for number in (0, 1)] == before
        silent.names = ()
        await a.classes.adopt(wanted)
        assert [(await limits_of(nats_server.url, f"CH_chat_{number}"))[0] for number in (0, 1)] == [7, 7]


@pytest.mark.integration
async def test_a_stream_that_is_deleted_with_its_class_is_looked_for_no_more(nats_server):
    def looking() -> bool:
        return any("LogStreams._check" in repr(task) for task in asyncio.all_tasks())

    async with broker(nats_server.url, Listener(), {**CLASSES, "fresh": KEPT}, partitions=1) as a:
        async with linked(nats_server.url) as link:
            await link.stream_manager().delete_stream("CH_fresh_0")
        await eventually(looking)
        await a.classes.adopt(CLASSES)
        await eventually(lambda: not looking())


@pytest.mark.integration
async def test_a_class_that_goes_while_its_streams_are_made_leaves_nothing(nats_server, monkeypatch):
    """NATS drops the connection during a reload: the edge looks after all streams, when the reload gives up."""
    stages: list[asyncio.Future[None]] = []

    async def ensured(link: NatsLink, config: StreamConfig) -> StreamState:
        if config.name == "CH_fresh_0":
            stages.append(asyncio.get_running_loop().create_future())
            await stages[-1]
        return await ensure_stream(link, config)

    async with broker(nats_server.url, Listener(), CLASSES, partitions=2) as a:
        monkeypatch.setattr(log_streams_nats, "ensure_stream", ensured)
        reload = asyncio.create_task(a.classes.adopt({**CLASSES, "fresh": KEPT}))
        await eventually(lambda: len(stages) == 1)
        a.on_link(connected=False)
        a.on_link(connected=True)
        await eventually(lambda: len(stages) == 2)
        stages[0].set_exception(NatsAway("the connection dropped"))
        with pytest.raises(NatsAway):
            await reload
        stages[1].set_result(None)
        await eventually(lambda: a.available)
        await eventually(lambda: a.health.remark() is None)
        await store(a, CHAT, 1)
        async with linked(nats_server.url) as link:
            names = {info.config.name for info in await link.stream_manager().streams_info()}
        assert not {"CH_fresh_1", "IDX_fresh_0"} & {str(name)[:11] for name in names}


MIB = 1024 * 1024


@pytest.fixture
def small_nats(native_nats: NativeNats) -> NativeNats:
    """A server with room for histories of 36 MiB, beside the streams that every edge has."""
    native_nats.stop()
    native_nats.configure(f"jetstream {{ max_file_store: {MAX_KEYS_BYTES + MAX_MARKS_BYTES + 36 * MIB} }}")
    native_nats.start()
    return native_nats


@pytest.mark.integration
async def test_room_that_one_class_gives_up_is_there_for_another_one(small_nats):
    """Wherever the other one stands in the configuration."""
    alone, half = (replace(KEPT, history_max_bytes=size * MIB) for size in (32, 16))
    async with broker(small_nats.url, Listener(), {"chat": alone}, partitions=1) as a:
        await a.classes.adopt({"fresh": half, "chat": half})
        await store(a, NEWS, 1)


@pytest.mark.integration
async def test_a_change_that_is_refused_shuts_no_stream(small_nats, monkeypatch):
    """There is room for more in one of two streams. The channels of both go on at every moment."""
    options = replace(KEPT, history_max_bytes=16 * MIB)
    async with broker(small_nats.url, Listener(), {"chat": options}, partitions=2) as a:
        shut: list[str] = []
        monkeypatch.setattr(a.gates, "shut", lambda stream, error: shut.append(stream))
        before = [await limits_of(small_nats.url, f"CH_chat_{number}") for number in (0, 1)]
        with pytest.raises(NatsRefused, match="insufficient storage"):
            await a.classes.adopt({"chat": replace(options, history_max_bytes=44 * MIB)})
        assert not shut
        assert [await limits_of(small_nats.url, f"CH_chat_{number}") for number in (0, 1)] == before
        await store(a, CHAT, 1)


async def test_in_memory_a_log_begins_anew_if_it_keeps_more_or_less_and_the_others_go_on() -> None:
    logs = MemoryLogs({"fresh": KEPT, "chat": KEPT}, lambda: 0.0)
    listener, chat = Listener(), ChannelAddress("chat:x", "chat")
    a = MemoryBroker(logs)
    await a.start(listener)
    for address in (NEWS, chat):
        await a.publish(address, SAID)
    epochs = {name: log.epoch for name, log in logs.logs.items()}
    assert logs.adopt(
        {"fresh": replace(KEPT, history_size=20), "chat": replace(KEPT, history_max_bytes=1), "more": KEPT}
    )
    assert logs.logs["chat"].epoch == epochs["chat"] and logs.logs["fresh"].epoch != epochs["fresh"]
    assert await a.newest(NEWS) is None and sequence_of(await a.newest(chat)) == 1
    await a.publish(ChannelAddress("more:x", "more"), SAID)
    logs.adopt({"chat": KEPT})
    assert await a.newest(ChannelAddress("more:x", "more")) is None, "what is gone takes no memory"
