"""Publications that come faster than an edge can write them to the subscribers of a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from proto import codes
from services.edge.channels import batch_queue
from services.edge.channels.subscribers import FEW
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, FakeSubscriber, TestEdge, settled
from tests.support.eventually import eventually


@pytest.fixture
async def edge(monkeypatch: pytest.MonkeyPatch) -> TestEdge:
    monkeypatch.setattr(batch_queue, "CHANNEL_WAITING_BYTES", 0)
    return await TestEdge(EdgeCluster()).start()


@contextmanager
def no_time(edge: TestEdge) -> Iterator[None]:
    """Meanwhile the edge has no time for fan-outs to many subscribers."""
    pace = edge.node.channels.pace
    waiting: list[Callable[[], object]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "has_time", lambda: False)
        patch.setattr(pace, "wait", waiting.append)
        yield
    for work in waiting:
        pace.wait(work)


async def many(edge: TestEdge, channel: str) -> list[FakeSubscriber]:
    return [(await edge.subscribe(channel, positioned=True))[0] for _ in range(FEW + 1)]


async def test_what_the_log_keeps_is_read_once_there_is_room(edge):
    everybody = await many(edge, "news:x")
    with no_time(edge):
        for value in range(50):
            await edge.publish("news:x", value)
            await settled()
        assert edge.node.channels.pace.waiting_bytes < 5_000, "not all of them wait"
    await edge.publish("news:x", 50)
    await eventually(lambda: all(each.values == list(range(51)) for each in everybody))
    assert edge.tally.syncs.total() and not any(each.ended for each in everybody)


async def test_of_what_the_log_has_evicted_meanwhile_nobody_misses_anything_in_silence(edge):
    everybody = await many(edge, "chat:x")
    size = edge.node.channels.get("chat:x").rules.options.history_size
    with no_time(edge):
        for value in range(size + 50):
            await edge.publish("chat:x", value)
            await settled()
    await eventually(lambda: all(each.ended for each in everybody))
    for each in everybody:
        assert each.ended == [("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)]
        assert each.values == list(range(len(each.values))), "nothing from behind the hole"


async def test_without_a_log_they_are_dropped_and_counted(edge):
    everybody = await many(edge, "live:x")
    with no_time(edge):
        for value in range(50):
            await edge.publish("live:x", value)
            await settled()
    await eventually(lambda: all(each.values for each in everybody) and not edge.node.channels.pace.waiting_bytes)
    have = everybody[0].values
    assert have == sorted(set(have)) and all(each.values == have for each in everybody)
    assert edge.tally.fan_out_dropped == 50 - len(have) > 0
    await edge.publish("live:x", 50)
    await eventually(lambda: all(each.values == [*have, 50] for each in everybody))


async def test_one_that_stalls_before_it_hears_of_a_hole_gets_nothing_from_behind_it(edge, monkeypatch):
    monkeypatch.undo()  # there is room, so that what is behind the hole comes as usual
    talk = await connected(edge)
    await talk.subscribe("chat:x", positioned=True)
    await talk.subscribe("news:x")
    await many(edge, "chat:x")
    await edge.publish("chat:x", 0)
    await eventually(lambda: talk.values("chat:x") == [0])
    channel = edge.node.channels.get("chat:x")
    with no_time(edge):
        await edge.publish("chat:x", "waits")
        await settled()
        channel.subscribers.end(codes.UNSUBSCRIBED_INSUFFICIENT_STATE, lambda subscription: subscription.positioned)
        talk.transport.stall = True
        await edge.publish("news:x", "fills the socket")
        await settled()
        await edge.publish("chat:x", "behind")
        await settled()
        talk.connection.resume_writing()
        await settled()
    await eventually(lambda: any("unsubscribe" in push for push in talk.pushes))
    assert talk.values("chat:x") == [0]
