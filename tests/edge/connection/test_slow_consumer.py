"""A client that stalls, in channels of every kind: what it gets afterwards, and what is dropped."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from msgspec import Raw

from proto import codes
from proto.codec_protobuf import decode_replies
from proto.fossil import apply_delta
from proto.messages import ClientInfo, Publication
from proto.replies import Join, Push
from services.edge.connection import slow_consumer
from services.edge.framing import formats
from services.edge.framing.formats import Format
from services.edge.framing.wire import BINARY
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of
from tests.support.transport import frames_in

RED = {"key": "team", "cmp": "eq", "val": "red"}
LONG = "x" * 200


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


async def stalled(edge: TestEdge, talk: Talk, channel: str) -> None:
    """Fills the client's socket with one publication."""
    talk.transport.stall = True
    await edge.publish(channel, "fills the socket", tags={"team": "red"})
    await eventually(lambda: not talk.transport.stall)


def read(talk: Talk, format: Format, channel: str) -> list[Any]:
    """The payloads that a client with deltas makes of its pushes."""
    base, values = b"", []
    for data, delta in _payloads(talk, format, channel):
        base = apply_delta(base, data) if delta else data
        values.append(json.loads(base))
    return values


def _payloads(talk: Talk, format: Format, channel: str) -> list[tuple[bytes, bool]]:
    if format is formats.WEBSOCKET_JSON:
        return [(each["data"].encode(), each.get("delta", False)) for each in talk.publications(channel)]
    frames = [body for data in talk.transport.frames for opcode, body in frames_in(data) if opcode == BINARY]
    replies = [reply for body in frames for reply in decode_replies(body)]
    results = [pub for reply in replies if reply.subscribe is not None for pub in reply.subscribe.publications]
    pushed = [reply.push.pub for reply in replies if reply.push is not None and reply.push.pub is not None]
    return [(bytes(pub.data), pub.delta) for pub in results + pushed]


class TestDeltas:
    @pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF])
    async def test_missed_publications_come_whole_and_then_differences_begin_again(self, edge, format):
        talk = await connected(edge, format)
        assert (await talk.subscribe("diff:x", delta="fossil"))["delta"]
        for n in range(2):
            await edge.publish("diff:x", {"n": n, "text": LONG})
        await eventually(lambda: len(_payloads(talk, format, "diff:x")) == 2)
        talk.transport.stall = True
        await edge.publish("diff:x", {"n": 2, "text": LONG})
        await eventually(lambda: talk.slow)
        for n in range(3, 6):
            await edge.publish("diff:x", {"n": n, "text": LONG})
        await eventually(lambda: edge.node.position("diff:x").offset == 6)
        talk.connection.resume_writing()
        await eventually(lambda: len(_payloads(talk, format, "diff:x")) == 6 and not talk.slow)
        for n in range(6, 9):
            await edge.publish("diff:x", {"n": n, "text": LONG})
        await eventually(lambda: [value["n"] for value in read(talk, format, "diff:x")] == list(range(9)))
        deltas = [delta for _, delta in _payloads(talk, format, "diff:x")]
        assert deltas == [False, True, True, *[False] * 3, False, True, True]

    @pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF])
    async def test_a_recovery_is_differences_and_the_next_publication_one_to_its_last(self, edge, format):
        await (await connected(edge)).subscribe("diff:x")  # so that the ring holds what the patch is made from
        first = await edge.publish("diff:x", {"n": 0, "text": LONG})
        for n in range(1, 4):
            await edge.publish("diff:x", {"n": n, "text": LONG})
        await eventually(lambda: edge.node.position("diff:x").offset == 4)
        talk = await connected(edge, format)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch}
        talk.say({"id": 9, "subscribe": {"channel": "diff:x", "delta": "fossil", **at}})
        await eventually(lambda: len(_payloads(talk, format, "diff:x")) == 3)
        await edge.publish("diff:x", {"n": 4, "text": LONG})
        await eventually(lambda: [value["n"] for value in read(talk, format, "diff:x")] == [1, 2, 3, 4])
        assert [delta for _, delta in _payloads(talk, format, "diff:x")] == [False, True, True, True]

    async def test_a_recovery_that_is_cut_goes_on_with_whole_ones(self, edge):
        rng = random.Random(5)
        first = await edge.publish("diff:x", {"n": 0})
        for n in range(1, 12):
            await edge.publish("diff:x", {"n": n, "text": f"{rng.getrandbits(400_000):x}"})
        talk = await connected(edge)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch}
        await talk.subscribe("diff:x", delta="fossil", **at)
        await edge.publish("diff:x", {"n": 12})
        json_format = formats.WEBSOCKET_JSON
        await eventually(lambda: [v["n"] for v in read(talk, json_format, "diff:x")] == list(range(1, 13)))
        assert max(map(len, talk.transport.frames)) < 1024 * 1024

    async def test_every_client_reads_everything_once_whatever_stalls(self, edge):
        rng = random.Random(3)
        both = (formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF)
        talks = [(await connected(edge, both[n % 2]), both[n % 2]) for n in range(6)]
        for talk, _ in talks:
            talk.say({"id": 9, "subscribe": {"channel": "diff:x", "delta": "fossil"}})
        await eventually(lambda: all(talk.channels == ["diff:x"] for talk, _ in talks))
        for n in range(80):
            for talk, _ in talks:
                if rng.random() < 0.2:
                    talk.transport.stall = True
                if rng.random() < 0.3 and talk.slow:
                    talk.connection.resume_writing()
            await edge.publish("diff:x", {"n": n, "text": LONG + str(n % 7)})
            if rng.random() < 0.2:
                await settled()
        for talk, format in talks:
            talk.transport.stall = False
            talk.connection.resume_writing()

            def everything(talk: Talk = talk, format: Format = format) -> bool:
                return [value["n"] for value in read(talk, format, "diff:x")] == list(range(80))

            await eventually(everything)


class TestFilters:
    async def test_it_is_given_only_what_it_wants_of_what_it_missed(self, edge):
        talk = await connected(edge)
        await talk.subscribe("diff:x", tf=RED)
        await stalled(edge, talk, "diff:x")
        for n in range(6):
            await edge.publish("diff:x", n, tags={"team": ("red", "blue")[n % 2]})
        await eventually(lambda: edge.node.position("diff:x").offset == 7)
        talk.connection.resume_writing()
        await eventually(lambda: talk.values("diff:x")[1:] == [0, 2, 4])
        await edge.publish("diff:x", "live", tags={"team": "red"})
        await eventually(lambda: talk.values("diff:x")[-1] == "live")

    async def test_a_recovery_is_filtered_too(self, edge):
        first = await edge.publish("diff:x", 0, tags={"team": "red"})
        for n in range(1, 5):
            await edge.publish("diff:x", n, tags={"team": ("red", "blue")[n % 2]})
        talk = await connected(edge)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch}
        result = await talk.subscribe("diff:x", tf=RED, **at)
        assert result["recovered"] and talk.values("diff:x") == [2, 4]


class TestWithoutHistory:
    async def test_the_namespace_says_what_becomes_of_it(self, edge):
        strict, lenient = await connected(edge), await connected(edge)
        await strict.subscribe("live:x")
        await lenient.subscribe("lossy:x")
        await stalled(edge, strict, "live:x")
        await stalled(edge, lenient, "lossy:x")
        await edge.publish("live:x", 1)
        await edge.publish("lossy:x", 1)
        await eventually(lambda: strict.closed == 3008)
        assert lenient.open and edge.tally.dropped.total() == 1
        lenient.connection.resume_writing()
        await eventually(lambda: not lenient.slow)
        await edge.publish("lossy:x", 2)
        await eventually(lambda: lenient.values("lossy:x") == ["fills the socket", 2])

    async def test_a_client_that_misses_much_gets_it_as_it_is_read(self, edge, monkeypatch):
        first = await edge.publish("chat:x", [0])
        for n in range(1, 8):
            await edge.publish("chat:x", [n, "x" * 100_000])
        talk = await connected(edge)
        await talk.subscribe("live:x")
        more, missed = asyncio.Event(), edge.node.missed

        async def later(*given):
            await more.wait()
            return await missed(*given)

        monkeypatch.setattr(edge.node, "missed", later)
        result = await talk.subscribe("chat:x", recover=True, offset=first.offset, epoch=first.epoch)
        assert result["recovered"] and len(talk.values("chat:x")) < 7
        await edge.publish("live:x", "now")
        await eventually(lambda: talk.values("live:x") == ["now"])
        more.set()
        await eventually(lambda: [value[0] for value in talk.values("chat:x")] == list(range(1, 8)))
        assert talk.open and edge.tally.lagged.total() == 0

    async def test_publications_that_skip_the_history_are_missed_and_those_in_the_log_are_not(self, edge):
        talk = await connected(edge)
        await talk.subscribe("chat:x")
        await stalled(edge, talk, "chat:x")
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b'"passing"')), skip_history=True)
        await edge.publish("chat:x", 1)
        await settled()
        talk.connection.resume_writing()
        await eventually(lambda: talk.values("chat:x") == ["fills the socket", 1])
        assert talk.open


class TestMembers:
    """Joins and leaves are in no log: they wait."""

    async def test_it_is_told_of_those_who_came_and_went(self, edge):
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await eventually(lambda: len(talk.members) == 1)
        await stalled(edge, talk, "room:x")
        other, third = await connected(edge), await connected(edge)
        await other.subscribe("room:x")
        await third.subscribe("room:x")
        await other.ask(unsubscribe={"channel": "room:x"})
        await edge.publish("room:x", "meanwhile")
        await settled()
        assert len(talk.members) == 1
        talk.connection.resume_writing()
        told = [("join", other.id), ("join", third.id), ("leave", other.id)]
        await eventually(lambda: [(kind, client) for kind, _, client in talk.members[1:]] == told)
        assert talk.values("room:x") == ["fills the socket", "meanwhile"]

    async def test_a_socket_that_fills_up_again_gets_each_once(self, edge):
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await eventually(lambda: len(talk.members) == 1)
        await stalled(edge, talk, "room:x")
        others = [await connected(edge) for _ in range(4)]
        for other in others:
            await other.subscribe("room:x")
            await settled()  # so that each join has a frame of its own
        for count in range(1, 5):
            talk.transport.stall = True
            talk.connection.resume_writing()
            await eventually(lambda: not talk.transport.stall)
            assert [client for _, _, client in talk.members[1:]] == [other.id for other in others[:count]]
        talk.connection.resume_writing()
        await eventually(lambda: not talk.slow)
        assert len(talk.members) == 5

    async def test_one_that_is_heard_of_while_the_client_catches_up_is_told(self, edge):
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await eventually(lambda: len(talk.members) == 1)
        await stalled(edge, talk, "room:x")
        talk.connection.resume_writing()  # it catches up before the turn of the loop ends in which the join comes
        join = Push(channel="room:x", join=Join(ClientInfo(user="9", client="newcomer")))
        edge.node.channels.get("room:x").subscribers.fan_out_member_event(join)
        await eventually(lambda: [client for _, _, client in talk.members[1:]] == ["newcomer"] and not talk.slow)

    async def test_however_many_are_heard_of_then_it_is_not_closed_for_them(self, edge):
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await eventually(lambda: len(talk.members) == 1)
        await stalled(edge, talk, "room:x")
        talk.connection.resume_writing()
        subscribers, count = edge.node.channels.get("room:x").subscribers, slow_consumer.HELD_BYTES // 64
        for number in range(count):
            info = ClientInfo(user="9", client=str(number))
            subscribers.fan_out_member_event(Push(channel="room:x", join=Join(info)))
        await eventually(lambda: len(talk.members) == 1 + count and not talk.slow)
        await settled()
        assert not talk.connection.closed

    async def test_of_a_channel_that_was_ended_meanwhile_nothing_is_told(self, edge):
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await eventually(lambda: len(talk.members) == 1)
        await stalled(edge, talk, "room:x")
        other = await connected(edge)
        await other.subscribe("room:x")
        await settled()
        talk.connection.end_subscription("room:x", codes.UNSUBSCRIBED_BY_SERVER)
        talk.connection.resume_writing()
        await eventually(lambda: not talk.slow)
        assert len(talk.members) == 1 and "unsubscribe" in talk.pushes[-1]

    async def test_too_many_of_them_end_the_connection(self, edge, monkeypatch):
        monkeypatch.setattr(slow_consumer, "HELD_BYTES", 200)
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await stalled(edge, talk, "room:x")
        for _ in range(4):
            await (await connected(edge)).subscribe("room:x")
        await eventually(lambda: talk.closed == 3008)


class TestTheEnd:
    async def test_an_evicted_publication_sends_the_client_back_to_recover(self, edge):
        talk = await connected(edge)
        await talk.subscribe("chat:x")
        await stalled(edge, talk, "chat:x")
        edge.node.channels.get("chat:x").log.skip_to(1)
        for n in range(200):  # more than the ring or the log hold
            await edge.publish("chat:x", n)
        await eventually(lambda: edge.node.position("chat:x").offset == 201)
        talk.connection.resume_writing()
        end = {"channel": "chat:x", "unsubscribe": {"code": 2500, "reason": "insufficient state"}}
        await eventually(lambda: talk.pushes[-1] == end)
        result = await talk.subscribe("chat:x", recover=True, offset=1, epoch="epoch1")
        assert result["was_recovering"] and "recovered" not in result

    async def test_a_server_side_one_is_sent_away_to_connect_anew(self, edge):
        talk = await connected(edge)
        await talk.subscribe("chat:x")
        talk.connection.session.state.channels["chat:x"].server_side = True
        await stalled(edge, talk, "chat:x")
        for n in range(200):
            await edge.publish("chat:x", n)
        await eventually(lambda: edge.node.position("chat:x").offset == 201)
        talk.connection.resume_writing()
        await eventually(lambda: talk.closed == 3010)

    async def test_while_the_broker_is_away_it_waits(self, edge, monkeypatch):
        monkeypatch.setattr(slow_consumer, "_RETRY_S", 0.001)
        talk = await connected(edge)
        await talk.subscribe("news:x")
        await stalled(edge, talk, "news:x")
        for n in range(200):
            await edge.publish("news:x", n)
        await eventually(lambda: edge.node.position("news:x").offset == 201)
        edge.broker.go_away()
        talk.connection.resume_writing()
        await settled()
        assert len(talk.values("news:x")) == 1
        edge.broker.come_back()
        await eventually(lambda: talk.values("news:x")[1:] == list(range(200)))

    async def test_a_publication_that_its_encoding_cannot_carry_is_left_out(self, edge):
        first = await edge.publish("chat:x", 0)
        for n in range(1, 8):
            await edge.publish("chat:x", [n, "x" * 100_000])
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b"\xff")))
        await edge.publish("chat:x", [8, ""])
        talk = await connected(edge)
        result = await talk.subscribe("chat:x", recover=True, offset=first.offset, epoch=first.epoch)
        assert result["recovered"], "it is not in the part that the reply holds"
        await eventually(lambda: [value[0] for value in talk.values("chat:x")] == list(range(1, 9)))
        assert talk.closed == 0 and edge.tally.left_out == 1

    async def test_a_client_that_takes_nothing_is_closed_also_when_it_stalls_while_catching_up(self):
        edge = await TestEdge(EdgeCluster(), ping_interval=0).start()  # nothing else asks after it
        first = await edge.publish("chat:x", [0])
        for n in range(1, 10):
            await edge.publish("chat:x", [n, "x" * 100_000])
        talk = await connected(edge)
        talk.transport.stall_after = 3  # the reply, one publication, another one
        await talk.subscribe("chat:x", recover=True, offset=first.offset, epoch=first.epoch)
        await eventually(lambda: talk.transport.stall_after == 0)
        assert not talk.transport.reading and edge.tally.lagged.total() == 1
        edge.clock.time += 30.5
        edge.context.timing_wheel.turn(edge.clock.time)
        assert talk.closed == 3008
