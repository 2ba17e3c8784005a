"""The ring of an edge that watched a channel answers what the log would, whoever removed something of it."""

from __future__ import annotations

import pytest
from nats.js import JetStreamManager

from proto import subjects
from tests.support.edges import api, connected
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.metrics import metric
from tests.support.processes import ServiceProcess
from tests.support.recovery import TOML, edge_of, position, publish, recovered

pytestmark = pytest.mark.integration
WHERE = subjects.log_address("chat", 1, "chat:x")


async def tells(edge: ServiceProcess, since: dict[str, object], expected: list[int] | None) -> None:
    """Waits until the edge gives this answer, which it has to learn of from NATS."""

    async def answers() -> bool:
        return await recovered(edge, "chat:x", since) == expected

    await eventually(answers)


@pytest.mark.parametrize("how", ["all of the channel", "all but the newest", "one in the middle"])
async def test_an_edge_that_watched_hands_out_nothing_that_somebody_else_removed(services, nats_server, how):
    a = await edge_of(services, nats_server, "edge-a")
    async with connected(a, "follower") as follower, linked(nats_server.url) as link:
        await follower.subscribe("chat:x")
        since = await position(a, "chat:x")
        offset = await publish(a, "chat:x", *range(5))
        assert await recovered(a, "chat:x", since) == [0, 1, 2, 3, 4]
        manager: JetStreamManager = link.stream_manager()
        if how == "all of the channel":
            await manager.purge_stream(WHERE.stream, subject=WHERE.stored)
        elif how == "all but the newest":
            await manager.purge_stream(WHERE.stream, subject=WHERE.stored, keep=1)
        else:
            await manager.delete_msg(WHERE.stream, offset - 2)
        await tells(a, since, None)
        assert await recovered(a, "chat:x", {**since, "offset": offset}) == []
        later = {**since, "offset": await publish(a, "chat:x", 5)}
        await publish(a, "chat:x", 6)
        assert await recovered(a, "chat:x", later) == [6], "what came since is as the ring has it"


async def test_an_edge_that_watched_keeps_to_a_limit_that_another_edge_lowered(services, nats_server):
    old = await edge_of(services, nats_server, "edge-a", size=20)
    async with connected(old, "follower") as follower:
        await follower.subscribe("chat:x")
        since = await position(old, "chat:x")
        offset = await publish(old, "chat:x", *range(10))
        assert await recovered(old, "chat:x", since) == list(range(10))
        new = await edge_of(services, nats_server, "edge-b", size=3)
        await tells(old, since, None)
        for edge in (old, new):
            assert await recovered(edge, "chat:x", {**since, "offset": offset - 3}) == [7, 8, 9]
        await publish(new, "chat:x", *range(10, 15))
        for edge in (old, new):
            assert await recovered(edge, "chat:x", {**since, "offset": offset}) is None
            assert await recovered(edge, "chat:x", {**since, "offset": offset + 2}) == [12, 13, 14]


async def test_what_was_removed_while_an_edge_could_not_hear_is_not_handed_out_by_its_ring(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a")
    async with connected(a, "follower") as follower:
        await follower.subscribe("chat:x")
        since = await position(a, "chat:x")
        await publish(a, "chat:x", *range(5))
        a.pause()
        async with linked(nats_server.url) as link:
            await link.stream_manager().purge_stream(WHERE.stream, subject=WHERE.stored, keep=1)
        nats_server.stop()
        nats_server.start()
        a.resume()
        await tells(a, since, None)


@pytest.mark.parametrize("open_here", [("chat:x", "chat:y"), ("chat:x",)])
async def test_a_history_that_an_edge_removes_disturbs_no_ring_of_another_channel(services, nats_server, open_here):
    a = await edge_of(services, nats_server, "edge-a")
    async with connected(a, "follower") as follower:
        for channel in open_here:
            await follower.subscribe(channel)
        since = await position(a, "chat:x")
        await publish(a, "chat:x", *range(5))
        await publish(a, "chat:y", 1)
        before = await metric(a, "log_reads_total")
        for _ in range(3):
            await api(a, "history_remove", {"channel": "chat:y"})
            assert await recovered(a, "chat:x", since) == [0, 1, 2, 3, 4]
            await publish(a, "chat:y", 1)
        assert await metric(a, "log_reads_total") == before


async def test_an_edge_that_watched_hands_out_nothing_that_other_channels_have_displaced(services, nats_server):
    small = TOML.format(size=1000, ttl="1h") + "history_max_bytes = 1048576\n"
    a = await edge_of(services, nats_server, "edge-a", toml=small)
    async with connected(a, "follower") as follower:
        await follower.subscribe("chat:x")
        since = await position(a, "chat:x")
        await publish(a, "chat:x", *range(5))
        assert await recovered(a, "chat:x", since) == [0, 1, 2, 3, 4]
        await publish(a, "chat:y", *["x" * 30_000] * 60)
        await tells(a, since, None)
