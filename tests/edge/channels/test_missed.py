"""Many clients that come back together, and clients that do not read: what it costs, and that nobody loses anything."""

from __future__ import annotations

import asyncio

import pytest

from proto.messages import StreamPosition
from services.edge.broker.broker import ChannelAddress, LogPage
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of

KB = "x" * 1000


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


async def publish(edge: TestEdge, channel: str, count: int, text: str = KB, first: int = 0) -> None:
    for number in range(first, first + count):
        await edge.publish(channel, [number, text])


def numbers(talk: Talk, channel: str) -> list[int]:
    return [value[0] for value in talk.values(channel)]


async def recovering(edge: TestEdge, channel: str, offset: int) -> Talk:
    """A client that has sent its subscribe."""
    talk = await connected(edge)
    talk.say({"id": 9, "subscribe": {"channel": channel, "recover": True, "offset": offset, "epoch": "epoch2"}})
    return talk


async def has(talk: Talk, first: int, after: int) -> None:
    """Waits until a client of news:x has these numbers, once and in order."""
    await eventually(lambda: numbers(talk, "news:x") == list(range(first, after)))


async def test_one_read_of_the_log_serves_all_who_come_back_to_the_same_position(edge):
    await publish(edge, "news:x", 601)
    talks = [await recovering(edge, "news:x", 1) for _ in range(100)]
    await eventually(lambda: all(len(numbers(talk, "news:x")) == 600 for talk in talks))
    assert all(numbers(talk, "news:x") == list(range(1, 601)) for talk in talks)
    assert edge.tally.recovered == 100
    assert edge.broker.reads <= 8, "600 KB are three reads, and a proof or two"
    await publish(edge, "news:x", 3, first=601)
    await eventually(lambda: all(numbers(talk, "news:x")[-3:] == [601, 602, 603] for talk in talks))
    assert edge.tally.lagged.total() == 0


async def test_clients_that_recover_much_and_read_nothing_cost_what_they_take(edge):
    """The attack: each holds its position, not what it missed."""
    await publish(edge, "news:x", 400, "x" * 60_000)
    talks = []
    for _ in range(4):
        talk = await connected(edge)
        await talk.subscribe("live:x")
        talk.transport.stall_after = 3
        talk.say({"id": 9, "subscribe": {"channel": "news:x", "recover": True, "offset": 1, "epoch": "epoch2"}})
        talks.append(talk)
    await eventually(lambda: all(talk.slow for talk in talks))
    for _ in range(500):
        await asyncio.sleep(0)
    assert edge.broker.reads <= 4 * 3, "not the 24 MB behind the positions"
    assert all(sum(map(len, talk.transport.frames)) < 3 * 130_000 for talk in talks), "three parts of two each"
    for talk in talks:
        talk.transport.stall_after = 0
        talk.connection.resume_writing()
    await eventually(lambda: all(len(numbers(talk, "news:x")) == 399 for talk in talks), 30)
    assert all(numbers(talk, "news:x") == list(range(1, 400)) for talk in talks)


async def test_others_have_their_turn_while_many_catch_up(edge):
    await publish(edge, "news:x", 300)
    talks = [await recovering(edge, "news:x", 1) for _ in range(200)]
    most = 0
    while edge.tally.recovered < 200 or any(talk.slow for talk in talks):
        before = sum(len(talk.transport.frames) for talk in talks)
        await asyncio.sleep(0)
        most = max(most, sum(len(talk.transport.frames) for talk in talks) - before)
    assert all(len(numbers(talk, "news:x")) == 299 for talk in talks)
    assert most <= 2 * 8, "clients that get a part in one turn of the event loop: eight subscribe, eight go on"


async def test_what_was_removed_is_handed_out_to_nobody_any_more(edge):
    await publish(edge, "news:x", 600)
    first = await recovering(edge, "news:x", 1)
    await eventually(lambda: len(numbers(first, "news:x")) == 599)
    slow = await connected(edge)
    slow.transport.stall_after = 3
    slow.say({"id": 9, "subscribe": {"channel": "news:x", "recover": True, "offset": 1, "epoch": "epoch2"}})
    await eventually(lambda: slow.slow)
    await edge.node.history.remove("news:x", rules_of("news:x"))
    later = await recovering(edge, "news:x", 1)
    result = (await later.reply(9))["subscribe"]
    assert result["was_recovering"] and "recovered" not in result and not later.values("news:x")
    await eventually(lambda: edge.node.position("news:x").offset == 601)
    had = len(numbers(slow, "news:x"))
    slow.transport.stall_after = 0
    slow.connection.resume_writing()
    await eventually(lambda: slow.pushes[-1].get("unsubscribe", {}).get("code") == 2500)
    assert len(numbers(slow, "news:x")) == had < 599


async def test_what_was_evicted_since_others_read_it_is_not_recovered(edge):
    await publish(edge, "news:x", 600)
    first = await recovering(edge, "news:x", 1)
    await eventually(lambda: len(numbers(first, "news:x")) == 599)
    edge.shared.logs["news"].remove("news:x", 100)
    for offset, recovered in ((1, False), (99, False), (101, True), (500, True)):
        talk = await recovering(edge, "news:x", offset)
        assert (await talk.reply(9))["subscribe"].get("recovered", False) is recovered
        if recovered:
            await has(talk, offset, 600)


async def test_more_than_the_limit_is_not_recovered_however_it_is_cut():
    edge = await TestEdge(EdgeCluster(), recovery_limit=500).start()
    await publish(edge, "news:x", 700)
    for offset, recovered in ((100, False), (199, False), (200, True)):
        talk = await recovering(edge, "news:x", offset)
        assert (await talk.reply(9))["subscribe"].get("recovered", False) is recovered
        if recovered:
            await has(talk, 200, 700)


async def test_while_it_is_published_on_everybody_gets_everything_once_and_in_order(edge):
    await publish(edge, "news:x", 300)
    talks = [await recovering(edge, "news:x", 1 + 7 * number) for number in range(30)]
    for number in range(300, 700):
        await edge.publish("news:x", [number, KB])
        if number % 9 == 0:
            talks.append(await recovering(edge, "news:x", number - 250))
            await asyncio.sleep(0)
    await eventually(lambda: all(numbers(talk, "news:x")[-1:] == [699] for talk in talks), 20)
    for talk in talks:
        found = numbers(talk, "news:x")
        assert found == list(range(found[0], 700))
    assert edge.tally.unrecovered == 0 and all(not talk.slow for talk in talks)


async def test_a_position_in_between_and_one_past_the_end(edge):
    await publish(edge, "news:y", 5)
    await publish(edge, "news:x", 400)
    await publish(edge, "news:y", 5)
    talk = await recovering(edge, "news:x", 3)
    assert (await talk.reply(9))["subscribe"]["recovered"]
    await has(talk, 0, 400)
    ahead = StreamPosition(410, "epoch2")
    _, result = await edge.subscribe("news:x", ahead)
    assert result.recovered and result.publications == []


def delete(edge: TestEdge, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    """Somebody has deleted this entry of news:x; and somebody publishes to the channel before and after each read."""
    read = edge.broker.read

    async def without(address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        await edge.publish("news:x", [0, KB])
        page: LogPage = await read(address, from_offset, limit)
        await edge.publish("news:x", [0, KB])
        left = page.left - (not page.entries or page.entries[-1].sequence < offset)
        return LogPage([entry for entry in page.entries if entry.sequence != offset], left)

    monkeypatch.setattr(edge.broker, "read", without)


async def test_an_entry_that_was_deleted_in_the_middle_is_noticed_while_others_publish(edge, monkeypatch):
    await publish(edge, "news:x", 300)
    delete(edge, monkeypatch, 40)
    for offset, recovered in ((1, False), (39, False), (40, True), (250, True)):
        talk = await recovering(edge, "news:x", offset)
        assert (await talk.reply(9))["subscribe"].get("recovered", False) is recovered, offset


async def test_a_slow_client_gets_nothing_of_a_part_from_which_an_entry_was_deleted(edge, monkeypatch):
    await publish(edge, "news:x", 900)
    delete(edge, monkeypatch, 700)
    talk = await recovering(edge, "news:x", 1)
    assert (await talk.reply(9))["subscribe"]["recovered"]
    await eventually(lambda: talk.pushes[-1].get("unsubscribe", {}).get("code") == 2500)
    found = numbers(talk, "news:x")
    assert found == list(range(1, found[-1] + 1)) and found[-1] < 699


async def test_a_channel_that_is_published_to_all_the_time_loses_nothing(edge, monkeypatch):
    await publish(edge, "news:x", 900)
    delete(edge, monkeypatch, 0)
    offsets = (1, 500, 899)
    talks = [await recovering(edge, "news:x", offset) for offset in offsets]
    for talk in talks:
        assert (await talk.reply(9))["subscribe"]["recovered"]
    await eventually(
        lambda: all(
            numbers(talk, "news:x")[: 900 - first] == [*range(first, 900)]
            for talk, first in zip(talks, offsets, strict=True)
        )
    )
