"""Commands that wait for the cluster or a backend: their outcomes, the order of these, and failures."""

from __future__ import annotations

import base64
import json
import logging
from functools import partial

import pytest

from proto.messages import StreamPosition
from services.edge.backend.backend import BackendError
from services.edge.broker.broker import BrokerRefused
from services.edge.connection.executor import NoKeyLookup
from services.edge.framing import formats
from services.edge.tokens.token_keys import KeySet
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.namespaces import rules_of


@pytest.fixture
def cluster() -> EdgeCluster:
    return EdgeCluster()


@pytest.fixture
async def edge(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster, token_hmac_secret_key=SECRET).start()


def kinds(talk: Talk) -> list[str]:
    """The messages it got, in order: "reply 2", "pub", "join", ..."""
    told = []
    for message in talk.heard:
        push = message.get("push", {})
        told.append(f"reply {message['id']}" if "id" in message else next(k for k in push if k != "channel"))
    return told


class TestOrder:
    async def test_replies_come_in_the_order_of_the_commands(self, edge):
        talk = Talk(edge)
        talk.say(
            {"id": 1, "connect": {}},
            {"id": 2, "subscribe": {"channel": "chat:x"}},
            {"id": 3, "publish": {"channel": "chat:x", "data": 1}},
            {"id": 4, "history": {"channel": "chat:x", "limit": 5}},
            {"id": 5, "unsubscribe": {"channel": "chat:x"}},
            {"id": 6, "subscribe": {"channel": "chat:x"}},
            {"id": 7, "presence": {"channel": "lobby:x"}},
        )
        await talk.reply(7)
        assert [kind for kind in kinds(talk) if kind != "pub"] == [f"reply {n}" for n in range(1, 8)]

    async def test_a_subscribed_publisher_gets_its_own_publication(self, edge):
        talk = await connected(edge)
        await talk.subscribe("chat:x")
        assert await talk.ask(publish={"channel": "chat:x", "data": {"a": 1}}) == {"publish": {}}
        await eventually(lambda: talk.values("chat:x") == [{"a": 1}])
        assert talk.publications("chat:x")[0]["info"] == {"user": "", "client": talk.id}

    @pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF])
    async def test_no_push_comes_before_the_reply_and_none_after_the_unsubscribe(self, edge, format):
        """Publications rain down while the client comes and goes."""
        talk = await connected(edge, format)
        published = 0
        for turn in range(30):
            talk.say({"id": 100 + turn, "subscribe": {"channel": "chat:x"}})
            for _ in range(3):
                await edge.publish("chat:x", published)
                published += 1
            await talk.reply(100 + turn)
            if turn % 2:  # in the others the last publications are still on their way when it leaves
                await eventually(partial(_has_heard, talk, published - 1))
            talk.say({"id": 200 + turn, "unsubscribe": {"channel": "chat:x"}})
            await edge.publish("chat:x", published)
            published += 1
        subscribed, last, current = False, 0, 0
        for message in talk.heard:
            number = message.get("id", 0)
            if 100 <= number < 130:
                assert not subscribed
                subscribed, current = True, message["subscribe"].get("offset", 0)
            elif number >= 200:
                assert subscribed
                subscribed = False
            elif "push" in message:
                assert subscribed, "a push without a subscription"
                last = message["push"]["pub"]["offset"]
                assert last == current + 1, "the position of the reply is exact"
                current = last
        assert last, "there were pushes at all"

    async def test_a_join_comes_after_the_reply_and_before_what_follows_it(self, edge):
        talk = await connected(edge)
        talk.say({"id": 2, "subscribe": {"channel": "room:x"}})
        await eventually(lambda: talk.members == [("join", "room:x", talk.id)])
        assert kinds(talk)[:3] == ["reply 1", "reply 2", "join"]

    async def test_a_leave_is_for_the_others(self, edge):
        one, two = await connected(edge), await connected(edge)
        await one.subscribe("room:x")
        await two.subscribe("room:x")
        await two.ask(unsubscribe={"channel": "room:x"})
        await eventually(lambda: one.members[2:] == [("leave", "room:x", two.id)])
        two.connection.lost()
        await two_again(edge, one)

    async def test_a_client_that_vanishes_leaves_every_channel(self, edge):
        one, two = await connected(edge), await connected(edge)
        for channel in ("room:x", "room:y"):
            await one.subscribe(channel)
            await two.subscribe(channel)
        two.connection.lost()
        leaves = [("leave", "room:x", two.id), ("leave", "room:y", two.id)]
        await eventually(lambda: sorted(each for each in one.members if each[0] == "leave") == leaves)
        assert edge.node.subscriptions == 2 and set(edge.context.registry) == {one.connection}


def _has_heard(talk: Talk, value: object) -> bool:
    return value in talk.values("chat:x")


async def two_again(edge: TestEdge, one: Talk) -> None:
    """Nothing more was told of a client that had left already."""
    third = await connected(edge)
    await third.subscribe("room:x")
    await eventually(lambda: one.members[-1] == ("join", "room:x", third.id))
    assert len([each for each in one.members if each[0] == "leave"]) == 1


class TestFailures:
    async def test_while_the_broker_is_away_commands_get_error_100_and_work_again_after(self, edge):
        talk = await connected(edge)
        edge.broker.go_away()
        for command in (
            {"subscribe": {"channel": "chat:x"}},
            {"publish": {"channel": "chat:x", "data": 1}},
            {"publish": {"channel": "live:x", "data": 1}},
            {"history": {"channel": "chat:x", "limit": 1}},
        ):
            assert await talk.error(**command) == 100
        edge.broker.come_back()
        await talk.subscribe("chat:x")
        assert talk.channels == ["chat:x"]

    async def test_a_publication_that_the_broker_refuses_is_in_the_log_with_its_channel(
        self, edge, monkeypatch, caplog
    ):
        caplog.set_level("INFO")

        async def refuses(*args, **more):
            raise BrokerRefused("the namespace's history_max_bytes are used up")

        monkeypatch.setattr(edge.broker, "publish", refuses)
        talk = await connected(edge)
        assert await talk.error(publish={"channel": "chat:x", "data": 1}) == 106
        (record,) = [each for each in caplog.records if "refused a client's publication" in each.getMessage()]
        assert record.getMessage().endswith("the namespace's history_max_bytes are used up")
        assert (vars(record)["channel"], vars(record)["client"]) == ("chat:x", talk.id)

    async def test_a_failure_that_nobody_thought_of_is_error_100_and_in_the_log(self, edge, monkeypatch, caplog):
        async def fails(*args, **more):
            raise RuntimeError("on purpose")

        monkeypatch.setattr(edge.node, "publish", fails)
        talk = await connected(edge)
        assert await talk.error(publish={"channel": "chat:x", "data": 1}) == 100
        assert "on purpose" in caplog.text
        assert await talk.ask(presence={"channel": "lobby:x"}) == {"presence": {"presence": {}}}

    async def test_an_edge_that_does_not_answer_makes_presence_fail(self, edge):
        talk = await connected(edge)
        edge.peers.away = True
        assert await talk.error(presence={"channel": "lobby:x"}) == 100
        assert await talk.error(presence_stats={"channel": "lobby:x"}) == 100

    async def test_a_client_that_leaves_while_it_subscribes_is_in_no_channel(self, edge):
        talk = await connected(edge)
        talk.say({"id": 2, "subscribe": {"channel": "room:x"}})
        talk.connection.lost()
        await settled()
        assert await edge.node.presence.active_channels("") == {} and edge.node.subscriptions == 0
        witness = await connected(edge)
        await witness.subscribe("room:x")
        await eventually(lambda: witness.members == [("join", "room:x", witness.id)])

    async def test_a_recovery_that_was_to_be_an_error_is_one_and_no_subscription(self, edge):
        talk = await connected(edge)
        request = {"channel": "chat:x", "recover": True, "epoch": "other", "offset": 7, "flag": 2}
        assert await talk.error(subscribe=request) == 112
        assert talk.channels == []
        request["flag"] = 0
        result = (await talk.ask(subscribe=request))["subscribe"]
        assert result["was_recovering"] and "recovered" not in result


class TestIdempotency:
    """A publish that is repeated with its key is stored once, and told where."""

    @pytest.mark.parametrize("channel", ["chat:x", "live:x"])
    async def test_a_repeated_publish_is_one(self, edge, channel):
        talk = await connected(edge, formats.WEBSOCKET_JSON, sub="42")
        await talk.subscribe(channel)
        request = {"channel": channel, "data": 1, "idempotency_key": "k"}
        answers = [await talk.ask(publish=request) for _ in range(3)]
        at = {"offset": 1, "epoch": "epoch1"} if channel == "chat:x" else {}
        assert answers == [{"publish": at}] * 3
        rpc = {"method": "fairlead.publish", "data": request}
        answer = {"offset": 0, "epoch": ""} | at
        assert await talk.ask(rpc=rpc) == {"rpc": {"data": answer}}, "by RPC it is the same key"
        await talk.ask(publish={"channel": channel, "data": "last"})
        await eventually(lambda: talk.values(channel) == [1, "last"])

    async def test_keys_are_a_user_s_own(self, edge):
        """For any names of users and keys, none of these pairs is taken for another."""
        pairs = [("a", "k"), ("b", "k"), ("a", "k\nz"), ("a\nk", "z"), ("", "k"), ("a", "K"), ("a", "k ")]
        for user, key in pairs:
            talk = await connected(edge, formats.WEBSOCKET_JSON, sub=user)
            await talk.ask(publish={"channel": "chat:x", "data": [user, key], "idempotency_key": key})
        found = await edge.node.history.read("chat:x", rules_of("chat:x"), 100, None, False)
        assert [json.loads(bytes(each.data)) for each in found.publications] == [list(pair) for pair in pairs]
        other = await connected(edge, formats.WEBSOCKET_JSON, sub="a")
        await other.ask(publish={"channel": "chat:y", "data": 1, "idempotency_key": "k"})
        assert edge.node.position("chat:y") is None
        found = await edge.node.history.read("chat:y", rules_of("chat:y"), 100, None, False)
        assert len(found.publications) == 1, "and of each channel"

    async def test_without_a_key_nothing_is_told(self, edge):
        talk = await connected(edge)
        assert await talk.ask(publish={"channel": "chat:x", "data": 1}) == {"publish": {}}

    async def test_bytes_can_be_published_by_rpc(self, edge):
        talk = await connected(edge)
        data = {"channel": "chat:x", "idempotency_key": "k", "b64data": base64.b64encode(b"\xff").decode()}
        await talk.ask(rpc={"method": "fairlead.publish", "data": data})
        found = await edge.node.history.read("chat:x", rules_of("chat:x"), 1, None, False)
        assert [bytes(each.data) for each in found.publications] == [b"\xff"]


class TestRpc:
    """3.8: no backend at all is 108, a method that the backend does not have 104."""

    def backend(self, **functions) -> FunctionBackend:
        return FunctionBackend(functions)

    async def test_an_answer(self, cluster):
        asked = []

        def double(data, caller):
            asked.append(caller)
            return json.dumps(json.loads(data) * 2).encode()

        edge = await TestEdge(cluster, backend=self.backend(double=double), token_hmac_secret_key=SECRET).start()
        for format in (formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF):
            talk = await connected(edge, format, sub="42", info={"n": 1})
            assert await talk.ask(rpc={"method": "double", "data": 21}) == {"rpc": {"data": 42}}
            assert (asked[-1].user, asked[-1].client, asked[-1].encoding) == ("42", talk.id, format.codec.name)

    async def test_nobody_answers(self, edge):
        talk = await connected(edge)
        assert await talk.error(rpc={"method": "nope"}) == 108
        assert await talk.error(rpc={}) == 108
        edge.backend.away = True
        assert await talk.error(rpc={"method": "nope"}) == 100, "who knows"

    async def test_the_log_names_the_backend_that_failed(self, cluster, caplog):
        backend = self.backend(raw=lambda data, caller: b"\xff")
        edge = await TestEdge(cluster, backend=backend).start()
        talk = await connected(edge)
        with caplog.at_level(logging.INFO):
            assert await talk.error(rpc={"method": "raw"}) == 100
            assert await talk.error(rpc={"method": "nobody"}) == 108
            backend.away = True
            assert await talk.error(rpc={"method": "raw"}) == 100
        unusable, nobody, away = caplog.records
        assert "unusable" in unusable.getMessage() and unusable.backend == "nats"
        assert "no backend answers it, asked: nats" in nobody.getMessage()
        assert "is not answered" in away.getMessage() and away.backend == "nats"

    async def test_no_such_method(self, edge):
        talk = await connected(edge)
        for method in ("a..b", ".", "x" * 256):
            assert await talk.error(rpc={"method": method}) == 104

    async def test_errors_of_the_backend_are_for_the_client(self, cluster):
        def no(data, caller):
            raise BackendError(1234, "not today", temporary=True)

        edge = await TestEdge(cluster, backend=self.backend(no=no)).start()
        talk = await connected(edge)
        answer = await talk.ask(rpc={"method": "no"})
        assert answer == {"error": {"code": 1234, "message": "not today", "temporary": True}}

    async def test_an_answer_that_is_not_json_is_for_protobuf_clients(self, cluster):
        edge = await TestEdge(cluster, backend=self.backend(raw=lambda data, caller: b"\xff")).start()
        text, binary = await connected(edge), await connected(edge, formats.WEBSOCKET_PROTOBUF)
        assert await text.error(rpc={"method": "raw"}) == 100
        binary.say({"id": 9, "rpc": {"method": "raw"}})
        await eventually(lambda: len(binary.transport.frames) == 2)
        assert b"\xff" in binary.transport.frames[1]

    async def test_send_reaches_whoever_listens_and_is_not_answered(self, cluster):
        edge = await TestEdge(cluster, allow_send=True, token_hmac_secret_key=SECRET).start()
        talk = await connected(edge, formats.WEBSOCKET_JSON, sub="42")
        talk.say({"send": {"data": {"typing": True}}}, {"id": 7, "unsubscribe": {"channel": "x"}})
        await talk.reply(7)
        ((data, caller),) = edge.backend.sent
        assert (json.loads(data), caller.user) == ({"typing": True}, "42") and len(talk.heard) == 2


async def test_positions_of_replies_and_of_the_node_are_the_same(edge):
    talk = await connected(edge)
    for n in range(3):
        await edge.publish("chat:x", n)
    result = await talk.subscribe("chat:x")
    assert (
        edge.node.position("chat:x") == StreamPosition(result["offset"], result["epoch"]) == StreamPosition(3, "epoch1")
    )


async def test_there_are_no_keys_but_those_of_the_configuration() -> None:
    assert await NoKeyLookup().wanted("k1", KeySet()), "it was looked for, in vain"
