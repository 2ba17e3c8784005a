"""Payloads that a client cannot take: not JSON, or too much for one reply."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from proto.codec_json import JSON
from proto.messages import ClientInfo, Publication
from proto.replies import HistoryResult, Reply
from services.edge.framing import formats
from services.edge.session.results import fitting
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of


@pytest.fixture
def cluster() -> EdgeCluster:
    return EdgeCluster()


@pytest.fixture
async def edge(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster, token_hmac_secret_key=SECRET).start()


class TestPayloads:
    async def test_what_is_not_json_is_left_out_for_a_json_client_and_a_protobuf_client_gets_it(self, edge):
        text, binary = await connected(edge), await connected(edge, formats.WEBSOCKET_PROTOBUF)
        for talk in (text, binary):
            await talk.subscribe("chat:x")
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b"\xff")))
        await edge.publish("chat:x", 1)
        await eventually(lambda: text.values("chat:x") == [1] and binary.values("chat:x") == [{"hex": "ff"}, 1])
        assert text.closed == binary.closed == 0 and edge.tally.left_out == 1

    @pytest.mark.parametrize("channel", ["chat:x", "diff:x", "room:x"])
    @pytest.mark.parametrize("delta", ["", "fossil"])
    async def test_a_recovery_leaves_it_out_and_the_client_stays(self, edge, channel, delta):
        first = await edge.publish(channel, 0)
        await edge.node.publish(channel, rules_of(channel), Publication(Raw(b"\xff")))
        await edge.publish(channel, 2)
        talk = await connected(edge)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch, "delta": delta}
        result = await talk.subscribe(channel, **at)
        assert result["recovered"] and [each["offset"] for each in result["publications"]] == [first.offset + 2]
        await edge.publish(channel, 3)
        await eventually(lambda: len(talk.publications(channel)) == 2)
        assert talk.closed == 0 and edge.tally.left_out == 1

    async def test_so_does_a_history(self, edge):
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b"\xff")))
        await edge.publish("chat:x", 1)
        talk = await connected(edge)
        found = (await talk.ask(history={"channel": "chat:x", "limit": 5}))["history"]
        assert [each["data"] for each in found["publications"]] == [1] and edge.tally.left_out == 1

    @pytest.mark.parametrize("delta", ["", "fossil"])
    @pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.UNI_SSE], ids=["websocket", "uni_sse"])
    async def test_so_does_a_recovery_by_connect(self, edge, format, delta):
        first = await edge.publish("diff:x", 0)
        await edge.node.publish("diff:x", rules_of("diff:x"), Publication(Raw(b"\xff")))
        await edge.publish("diff:x", 2)
        talk = Talk(edge, format)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch, "delta": delta}
        request = {"token": token(channels=["diff:x", "room:x"]), "subs": {"diff:x": at}}
        if format.unidirectional:
            talk.connection.connect_received(json.dumps(request).encode())
        else:
            talk.say({"id": 1, "connect": request})
        await eventually(lambda: edge.tally.left_out == 1 and talk.transport.frames)
        assert not talk.connection.closed and edge.node.subscriptions == 2

    async def test_a_large_recovery_is_cut_for_server_side_subscriptions_too(self, edge):
        first = await edge.publish("chat:x", [0])
        for n in range(1, 10):
            await edge.publish("chat:x", [n, "x" * 100_000])
        talk = Talk(edge)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch}
        result = await talk.connect({"channels": ["chat:x", "live:y"]}, subs={"chat:x": at})
        assert 0 < len(result["subs"]["chat:x"]["publications"]) < 9
        await eventually(lambda: [value[0] for value in talk.values("chat:x")] == list(range(1, 10)))
        assert max(map(len, talk.transport.frames)) < 1024 * 1024
        await edge.publish("chat:x", ["live"])
        await eventually(lambda: talk.values("chat:x")[-1] == ["live"])


def test_a_reply_is_cut_by_all_that_its_publications_bring_along() -> None:
    who = ClientInfo(user="7", client="c" * 36, conn_info=Raw(b'"' + b"x" * 1000 + b'"'))
    many = [Publication(Raw(b"1"), info=who, tags={"k" * 100: "v" * 100}, offset=n) for n in range(1, 5000)]
    first, room = fitting(many)
    assert 0 < len(first) < len(many) and room == 0
    frame = JSON.encode_reply(Reply(id=1, history=HistoryResult(first, "epoch", 5000)))
    assert len(frame) < 1024 * 1024
