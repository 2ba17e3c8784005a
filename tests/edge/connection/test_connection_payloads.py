"""Payloads that a client cannot take: not JSON, or too much for one reply."""

from __future__ import annotations

import pytest
from msgspec import Raw

from proto.codec_json import JSON
from proto.events import Closed, Opened
from proto.messages import ClientInfo, Publication
from proto.replies import HistoryResult, Reply
from services.edge.framing import formats
from services.edge.session.results import fitting
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of


@pytest.fixture
def cluster() -> EdgeCluster:
    return EdgeCluster()


@pytest.fixture
async def edge(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster, token_hmac_secret_key=SECRET).start()


class TestPayloads:
    async def test_a_json_client_cannot_take_what_is_not_json_and_a_protobuf_client_can(self, edge):
        text, binary = await connected(edge), await connected(edge, formats.WEBSOCKET_PROTOBUF)
        for talk in (text, binary):
            await talk.subscribe("chat:x")
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b"\xff")))
        await eventually(lambda: text.closed == 3506)
        assert binary.closed == 0
        assert edge.node.subscriptions == 1 and set(edge.context.registry) == {text.connection, binary.connection}

    @pytest.mark.parametrize("channel", ["chat:x", "diff:x", "room:x"])
    async def test_a_client_that_would_recover_it_cannot_take_it_either_and_no_join_is_told(self, edge, channel):
        witness = await connected(edge, formats.WEBSOCKET_PROTOBUF)
        await witness.subscribe("room:x")
        first = await edge.publish(channel, 0)
        await edge.node.publish(channel, rules_of(channel), Publication(Raw(b"\xff")))
        talk = await connected(edge)
        request = {"channel": channel, "recover": True, "offset": first.offset, "epoch": first.epoch, "delta": "fossil"}
        talk.say({"id": 2, "subscribe": request})
        await eventually(lambda: talk.closed == 3506)
        assert [message["id"] for message in talk.heard] == [1]
        await settled()
        assert witness.members == [("join", "room:x", witness.id)], "it was never there"
        assert list(await edge.node.presence.members("room:x")) == [witness.id]
        assert [type(event).__name__ for event in edge.sessions.events if event.connection == talk.id] == [
            "Opened",
            "Closed",
        ]

    async def test_history_that_it_cannot_take_ends_it_too(self, edge):
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b"\xff")))
        talk = await connected(edge)
        talk.say({"id": 2, "history": {"channel": "chat:x", "limit": 5}})
        await eventually(lambda: talk.closed == 3506)

    @pytest.mark.parametrize(
        "behind",
        [
            {"id": 4, "unsubscribe": {"channel": "room:x"}},
            {"id": 4, "subscribe": {"channel": "room:y"}},
            {"id": 4, "connect": {}},
        ],
    )
    async def test_nothing_behind_an_unencodable_reply_stays(self, edge, behind):
        await edge.node.publish("chat:x", rules_of("chat:x"), Publication(Raw(b"\xff")))
        talk = await connected(edge)
        await talk.subscribe("room:x")
        talk.say({"id": 2, "history": {"channel": "chat:x", "limit": 5}}, behind)
        await eventually(lambda: talk.closed in (3501, 3506))
        await settled()
        assert edge.node.subscriptions == 0 and edge.context.registry.users == 0
        assert [message["id"] for message in talk.heard if "id" in message] == [1, 2]
        assert type(edge.sessions.events[-1]) is Closed

    @pytest.mark.parametrize("delta", ["", "fossil"])
    async def test_an_unencodable_publication_recovered_by_connect_ends_it_too(self, edge, delta):
        first = await edge.publish("diff:x", 0)
        await edge.node.publish("diff:x", rules_of("diff:x"), Publication(Raw(b"\xff")))
        talk = Talk(edge)
        at = {"recover": True, "offset": first.offset, "epoch": first.epoch, "delta": delta}
        talk.say({"id": 1, "connect": {"token": token(channels=["diff:x", "room:x"]), "subs": {"diff:x": at}}})
        await eventually(lambda: talk.closed == 3506)
        assert talk.heard == [] and edge.node.subscriptions == 0 and edge.context.registry.users == 0
        assert [type(event) for event in edge.sessions.events] in ([], [Opened, Closed])

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
