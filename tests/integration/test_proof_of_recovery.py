"""`recovered: true` exactly when nothing of the channel was removed after the client's position, on every edge."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.js import JetStreamManager

from proto import subjects
from tests.support.edges import api, connected
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.processes import ServiceProcess
from tests.support.recovery import TOML, edge_of, expired, position, publish, recovered

pytestmark = [pytest.mark.integration, pytest.mark.once]


async def test_quiet_channels_are_recovered_on_an_edge_that_never_saw_them(services, nats_server):
    """A busy channel has moved the stream on, and what the quiet ones had has expired."""
    a = await edge_of(services, nats_server, "edge-a", ttl="1s")
    quiet = [f"chat:quiet-{i}" for i in range(20)]
    for channel in quiet[10:]:  # the first ten were never published to
        await publish(a, channel, "seen")
    positions = {channel: await position(a, channel) for channel in quiet}
    await publish(a, "chat:busy", *range(50))
    for channel in ("chat:quiet-19", "chat:busy"):
        await expired(a, channel)
    await publish(a, "chat:busy", "later")
    b = await edge_of(services, nats_server, "edge-b", ttl="1s")
    for edge in (b, a):
        for channel, since in positions.items():
            assert await recovered(edge, channel, since) == [], channel


async def test_what_came_and_expired_meanwhile_is_missing_on_every_edge(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a", ttl="1s")
    since = await position(a, "chat:x")
    offset = await publish(a, "chat:x", 1, 2)
    await expired(a, "chat:x")
    b = await edge_of(services, nats_server, "edge-b", ttl="1s")
    for edge in (a, b):
        assert await recovered(edge, "chat:x", since) is None
        assert await recovered(edge, "chat:x", {**since, "offset": offset - 1}) is None
        assert await recovered(edge, "chat:x", {**since, "offset": offset}) == []


async def test_a_position_that_was_evicted_stands_while_everything_after_it_is_retained(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a", size=2)
    await publish(a, "chat:x", "seen")
    since = await position(a, "chat:x")
    await publish(a, "chat:x", 1, 2)
    b = await edge_of(services, nats_server, "edge-b", size=2)
    for edge in (a, b):
        assert await recovered(edge, "chat:x", since) == [1, 2]
    await publish(a, "chat:x", 3)
    for edge in (a, b):
        assert await recovered(edge, "chat:x", since) is None


async def test_a_channel_that_was_never_used_is_recovered_from_its_beginning(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a")
    epoch = (await position(a, "chat:other"))["epoch"]
    await publish(a, "chat:other", *range(50))
    for since in ({"epoch": epoch, "offset": 0}, {"epoch": "", "offset": 0}):
        assert await recovered(a, "chat:never", since) == []


async def test_the_limit_of_the_stream_counts_while_a_lower_one_is_rolled_out(services, nats_server):
    old = await edge_of(services, nats_server, "edge-a", size=20)
    since = await position(old, "chat:x")
    offset = await publish(old, "chat:x", *range(10))
    new = await edge_of(services, nats_server, "edge-b", size=3)
    assert await recovered(new, "chat:x", since) is None
    assert await recovered(old, "chat:x", since) in (None, list(range(10))), (
        "it has seen them all itself, and not a part"
    )
    for edge in (new, old):
        assert await recovered(edge, "chat:x", {**since, "offset": offset - 3}) == [7, 8, 9]


async def test_a_limit_that_was_raised_brings_nothing_back(services, nats_server):
    old = await edge_of(services, nats_server, "edge-a", size=5)
    since = await position(old, "chat:x")
    offset = await publish(old, "chat:x", *range(20))
    assert await old.stop() == 0
    new = await edge_of(services, nats_server, "edge-b", size=100)
    assert await recovered(new, "chat:x", since) is None
    assert await recovered(new, "chat:x", {**since, "offset": offset - 6}) is None
    assert await recovered(new, "chat:x", {**since, "offset": offset - 5}) == [15, 16, 17, 18, 19]


async def test_quiet_channels_are_recovered_beside_one_that_is_flooded(services, nats_server):
    """Of a burst most is evicted before the index could read it."""
    a = await edge_of(services, nats_server, "edge-a", size=2, ttl="1s")
    await publish(a, "chat:quiet", "seen")
    before = {channel: await position(a, channel) for channel in ("chat:quiet", "chat:empty")}
    for _ in range(3):
        await asyncio.gather(*(publish(a, "chat:flooded", i) for i in range(60)))
    after = {channel: await position(a, channel) for channel in ("chat:quiet", "chat:new")}
    await expired(a, "chat:quiet")
    b = await edge_of(services, nats_server, "edge-b", size=2, ttl="1s")
    for positions in (before, after):
        for channel, since in positions.items():
            assert await recovered(b, channel, since) == [], (channel, since)
    since = await position(a, "chat:flooded")
    await asyncio.gather(*(publish(a, "chat:flooded", i) for i in range(60)))
    assert await recovered(b, "chat:flooded", since) is None


async def test_the_beginning_of_a_channel_is_not_guessed_when_the_index_was_made_anew(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a", size=3)
    epoch = (await position(a, "chat:other"))["epoch"]
    await publish(a, "chat:x", *range(10))
    async with linked(nats_server.url) as link:
        manager = link.stream_manager()
        await manager.delete_stream(subjects.index_of("CH_chat_0", epoch))
        b = await edge_of(services, nats_server, "edge-b", size=3)
        await eventually(lambda: _exists(manager, subjects.index_of("CH_chat_0", epoch)))
    for since in ({"epoch": epoch, "offset": 0}, {"epoch": "", "offset": 0}):
        assert await recovered(b, "chat:x", since) is None


async def test_more_than_the_index_names_are_recovered_and_missed_ones_are_noticed(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a", size=400)
    await publish(a, "chat:other", "first")
    since = await position(a, "chat:x")  # not of an entry of this channel
    await asyncio.gather(*(publish(a, "chat:x", i) for i in range(300)))
    b = await edge_of(services, nats_server, "edge-b", size=400)
    assert len(await recovered_in_parts(b, "chat:x", since, 300)) == 300
    where = subjects.log_address("chat", 1, "chat:x")
    async with linked(nats_server.url) as link:
        await link.stream_manager().purge_stream(where.stream, subject=where.stored, keep=200)
    c = await edge_of(services, nats_server, "edge-c", size=400)
    assert await recovered(c, "chat:x", since) is None


async def recovered_in_parts(edge: ServiceProcess, channel: str, since: dict[str, Any], count: int) -> list[Any]:
    """The data of all that a client gets that comes back; the first come with the reply."""
    async with connected(edge) as client:
        result = await client.subscribe(channel, recover=True, **since)
        assert result.get("recovered")
        found = [pub["data"] for pub in result.get("publications", [])]
        return found + await client.publications(channel, count - len(found))


async def test_of_two_namespaces_with_like_names_each_keeps_its_index(services, nats_server):
    two = TOML.format(size=10, ttl="1s") + TOML.partition("[channel]\nhistory_partitions = 1")[2].format(
        size=10, ttl="1s"
    ).replace('"chat"', '"chat_0"')
    a = await edge_of(services, nats_server, "edge-a", toml=two)
    await publish(a, "chat_0:quiet", "seen")
    since = await position(a, "chat_0:quiet")
    await expired(a, "chat_0:quiet")
    await edge_of(services, nats_server, "edge-b", toml=two)
    c = await edge_of(services, nats_server, "edge-c", toml=two)
    assert await recovered(c, "chat_0:quiet", since) == []


async def test_a_history_that_is_removed_twice_is_removed_once(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a")
    offset = await publish(a, "chat:x", 1, 2)
    since = {**await position(a, "chat:x"), "offset": offset}
    for _ in range(2):
        await api(a, "history_remove", {"channel": "chat:x"})
    b = await edge_of(services, nats_server, "edge-b")
    for edge in (b, a):
        assert await recovered(edge, "chat:x", since) == []


@pytest.mark.parametrize("how", ["all of the channel", "all but the newest", "one in the middle"])
async def test_an_edge_notices_what_somebody_else_removed(services, nats_server, how):
    a = await edge_of(services, nats_server, "edge-a")
    since = await position(a, "chat:x")
    offset = await publish(a, "chat:x", *range(5))
    where = subjects.log_address("chat", 1, "chat:x")
    async with linked(nats_server.url) as link:
        manager: JetStreamManager = link.stream_manager()
        if how == "all of the channel":
            await manager.purge_stream(where.stream, subject=where.stored)
        elif how == "all but the newest":
            await manager.purge_stream(where.stream, subject=where.stored, keep=1)
        else:
            await manager.delete_msg(where.stream, offset - 2)
    b = await edge_of(services, nats_server, "edge-b")
    assert await recovered(b, "chat:x", since) is None
    assert await recovered(b, "chat:x", {**since, "offset": offset}) == []


async def test_the_index_is_made_again_when_it_was_deleted(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a")
    since = await position(a, "chat:x")
    offset = await publish(a, "chat:x", *range(5))
    index = subjects.index_of("CH_chat_0", since["epoch"])
    async with linked(nats_server.url) as link:
        manager = link.stream_manager()
        await manager.delete_stream(index)
        b = await edge_of(services, nats_server, "edge-b")
        assert await recovered(b, "chat:x", {**since, "offset": offset - 2}) == [3, 4], "the entry itself is retained"
        await eventually(lambda: _exists(manager, index))


async def _exists(manager: JetStreamManager, stream: str) -> bool:
    return stream in {each.config.name for each in await manager.streams_info()}


@pytest.mark.parametrize("missed", [3, 2])
async def test_an_edge_that_watched_gives_the_answer_of_the_log(services, nats_server, missed):
    """Its ring holds more than the history does."""
    a = await edge_of(services, nats_server, "edge-a", size=2)
    async with connected(a, "follower") as follower:
        await follower.subscribe("chat:x")
        since = await position(a, "chat:x")
        await publish(a, "chat:x", *range(missed))
        assert await follower.publications("chat:x", missed) == list(range(missed))
        assert await recovered(a, "chat:x", since) == (None if missed > 2 else [0, 1])


async def test_an_edge_that_watched_gives_nothing_that_has_expired(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a", ttl="1s")
    async with connected(a, "follower") as follower:
        await follower.subscribe("chat:x")
        since = await position(a, "chat:x")
        await publish(a, "chat:x", 1)
        assert await follower.publications("chat:x", 1) == [1]
        assert await recovered(a, "chat:x", since) == [1]
        await expired(a, "chat:x")
        assert await recovered(a, "chat:x", since) is None


async def test_an_entry_that_was_deleted_in_the_middle_is_noticed_while_others_publish(services, nats_server):
    """And nobody is told of a loss that comes back to an entry after it, however busy the channel is."""
    a = await edge_of(services, nats_server, "edge-a", size=100_000)
    await publish(a, "chat:x", "seen")
    since = await position(a, "chat:x")
    offset = await publish(a, "chat:x", *range(20))
    where = subjects.log_address("chat", 1, "chat:x")
    async with linked(nats_server.url) as link:
        await link.stream_manager().delete_msg(where.stream, offset - 10)
        b = await edge_of(services, nats_server, "edge-b", size=100_000)

        async def publish_on() -> None:
            for _ in range(90_000):
                await link.request(where.stored, b"1")

        publishing = asyncio.create_task(publish_on())
        try:
            for _ in range(5):
                assert not publishing.done()
                assert await recovered(b, "chat:x", since) is None
                later = await recovered(b, "chat:x", {**since, "offset": offset - 10})
                assert later is not None and later[:10] == list(range(10, 20))
        finally:
            publishing.cancel()
