"""The history classes of a broker that runs are replaced: as a whole, or not at all."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from proto.messages import Publication
from services.chassis.nats.link import NatsAway, NatsRefused
from services.chassis.process.settings import Duration
from services.edge.broker.broker import BrokerAway, BrokerRefused, ChannelAddress, LogEntry
from services.edge.broker.broker_memory import MemoryBroker
from services.edge.broker.logs_memory import MemoryLogs
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, Listener, store
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually
from tests.support.links import linked

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
        with pytest.raises(NatsAway):
            await a.classes.adopt({**changed, "fresh": KEPT})


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
