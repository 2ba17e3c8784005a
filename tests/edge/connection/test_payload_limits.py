"""Payloads that are JSON, and that some reader could not take: nested too deep, half of an emoji."""

from __future__ import annotations

import base64
import json
import logging
from functools import partial
from typing import Any

import jwt
import msgspec
import pytest
from msgspec import Raw

from proto.codec_protobuf import PROTOBUF, encode_command
from proto.commands import Command, ConnectRequest, PublishRequest, RPCRequest, SendRequest, SubscribeRequest
from proto.events import Refused
from proto.messages import Publication
from proto.nesting import MAX_NESTING
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.namespaces import rules_of

FORMATS = [WEBSOCKET_JSON, WEBSOCKET_PROTOBUF]
both_encodings = pytest.mark.parametrize("format", FORMATS, ids=["json", "protobuf"])

DEEP = [MAX_NESTING + 1, 500, 976, 5000]
"""Levels: one too many, as many as every Python reads, as many as some do, and more than any did."""


def nested(levels: int) -> Raw:
    return Raw(b"[" * levels + b"]" * levels)


DEEPEST = nested(MAX_NESTING)
HALF = Raw(rb'{"text":"caf\u00e9 \ud83d","\ude00":null}')


def token_of(**claims: Raw) -> str:
    """A connection token of user 42. The library that signs refuses to read what nests deep, so its body is ours."""
    head, _, _ = jwt.encode({}, SECRET, algorithm="HS256").split(".")
    body = base64.urlsafe_b64encode(msgspec.json.encode({"sub": Raw(b'"42"'), **claims})).rstrip(b"=").decode()
    signed = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), SECRET.encode())
    return f"{head}.{body}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"


@pytest.fixture
def backend() -> FunctionBackend:
    return FunctionBackend()


@pytest.fixture
async def edge(backend: FunctionBackend) -> TestEdge:
    return await TestEdge(EdgeCluster(), backend=backend, allow_send=True, token_hmac_secret_key=SECRET).start()


def say(talk: Talk, *commands: Command) -> None:
    """Sends these commands in one frame; their payloads are bytes that json.dumps would not make."""
    codec = talk.connection.session.state.format.codec
    encode = encode_command if codec is PROTOBUF else msgspec.json.encode
    talk.connection.message_received(codec.join(map(encode, commands)))


async def ask(talk: Talk, number: int, **request: Any) -> dict[str, Any]:
    """The reply to a command with another one behind it, which is answered too."""
    say(talk, Command(id=number, **request), Command(id=number + 1, rpc=RPCRequest(method="echo")))
    reply = await talk.reply(number)
    assert "rpc" in await talk.reply(number + 1), "the error is for that command alone"
    return reply


def in_rpc(data: Raw) -> RPCRequest:
    call = {"channel": "chat:x", "idempotency_key": "k", "data": data}
    return RPCRequest(Raw(msgspec.json.encode(call)), "fairlead.publish")


def in_rpc_as_base64(data: Raw) -> RPCRequest:
    call = {"channel": "chat:x", "idempotency_key": "k", "b64data": base64.b64encode(bytes(data)).decode()}
    return RPCRequest(Raw(msgspec.json.encode(call)), "fairlead.publish")


WAYS: dict[str, Any] = {
    "publish": lambda data: {"publish": PublishRequest("chat:x", data)},
    "publish by RPC": lambda data: {"rpc": in_rpc(data)},
    "publish by RPC in base64": lambda data: {"rpc": in_rpc_as_base64(data)},
    "publish past a hook": lambda data: {"publish": PublishRequest("asked:x", data)},
    "rpc": lambda data: {"rpc": RPCRequest(data, "echo")},
    "subscribe": lambda data: {"subscribe": SubscribeRequest("asked:x", data=data)},
}
"""Commands with a payload, and an answer."""


def answer_everything(backend: FunctionBackend) -> None:
    backend.rpc["echo"] = lambda data, caller: data or b"1"
    backend.hooks.update(publish=lambda data, caller: b'{"result":{}}', subscribe=lambda data, caller: b'{"result":{}}')


@both_encodings
@pytest.mark.parametrize("way", WAYS)
class TestCommands:
    async def test_one_level_too_many_is_an_error_of_that_command_alone(self, edge, backend, format, way):
        answer_everything(backend)
        talk = await connected(edge, format)
        for number, levels in enumerate(DEEP):
            reply = await ask(talk, 10 + 2 * number, **WAYS[way](nested(levels)))
            assert reply.get("error", {}).get("code") == 107, levels
        assert talk.closed == 0

    async def test_up_to_the_limit_it_is_passed_on(self, edge, backend, format, way):
        answer_everything(backend)
        talk = await connected(edge, format)
        assert "error" not in await ask(talk, 10, **WAYS[way](DEEPEST))

    async def test_half_of_an_emoji_is_passed_on(self, edge, backend, format, way):
        answer_everything(backend)
        talk = await connected(edge, format)
        assert "error" not in await ask(talk, 10, **WAYS[way](HALF))


@both_encodings
async def test_a_send_that_nests_too_deep_is_left_out_alone(edge, backend, format):
    backend.rpc["echo"] = lambda data, caller: b"1"
    talk = await connected(edge, format)
    for levels in DEEP:
        say(talk, Command(send=SendRequest(nested(levels))))
    say(talk, Command(send=SendRequest(HALF)), Command(id=5, rpc=RPCRequest(method="echo")))
    await talk.reply(5)
    assert [data for data, _ in backend.sent] == [bytes(HALF)]
    assert [message["id"] for message in talk.heard] == [1, 5]


@both_encodings
@pytest.mark.parametrize("levels", DEEP)
async def test_a_connect_that_nests_too_deep_gets_the_error_too(edge, format, levels):
    talk = Talk(edge, format)
    say(talk, Command(id=1, connect=ConnectRequest(data=nested(levels))))
    assert (await talk.reply(1))["error"]["code"] == 107


@pytest.mark.parametrize("publisher", FORMATS, ids=["json", "protobuf"])
@pytest.mark.parametrize("channel", ["chat:x", "live:x", "diff:x"])
@pytest.mark.parametrize("data", [DEEPEST, HALF], ids=["deepest", "half"])
async def test_what_is_acknowledged_reaches_everybody_now_and_later(edge, backend, publisher, channel, data):
    backend.rpc["echo"] = lambda data, caller: b"1"
    writer, *readers = [await connected(edge, each) for each in (publisher, *FORMATS)]
    for reader in readers:
        await reader.subscribe(channel)
    assert "publish" in await ask(writer, 10, publish=PublishRequest(channel, data))
    for reader in readers:
        assert await eventually(partial(reader.values, channel)) == [json.loads(bytes(data))]
    if channel == "diff:x":
        late = await connected(edge)
        found = await late.subscribe(channel, recover=True, delta="fossil")
        assert [json.loads(each["data"]) for each in found["publications"]] == [json.loads(bytes(data))]


@both_encodings
@pytest.mark.parametrize("claim", ["info", "meta"])
async def test_a_token_that_nests_too_deep(edge, format, claim):
    for levels in DEEP:
        talk = Talk(edge, format)
        say(talk, Command(id=1, connect=ConnectRequest(token=token_of(**{claim: nested(levels)}))))
        assert (await talk.reply(1))["error"]["code"] == 107
    talk = Talk(edge, format)
    say(talk, Command(id=1, connect=ConnectRequest(token=token_of(info=DEEPEST, meta=DEEPEST))))
    assert "connect" in await talk.reply(1)


async def test_info_with_half_of_an_emoji_is_seen_by_everybody(edge):
    readers = [await connected(edge, format) for format in FORMATS]
    for reader in readers:
        await reader.subscribe("room:x")
    writer = Talk(edge)
    say(writer, Command(id=1, connect=ConnectRequest(token=token_of(info=HALF))))
    await writer.reply(1)
    await writer.subscribe("room:x")
    say(writer, Command(id=7, publish=PublishRequest("room:x", Raw(b"1"))))
    await writer.reply(7)
    for reader in readers:
        (publication,) = await eventually(partial(reader.publications, "room:x"))
        assert publication["info"]["conn_info"] == json.loads(bytes(HALF))
        members = (await reader.ask(presence={"channel": "room:x"}))["presence"]["presence"]
        assert members[writer.id]["conn_info"] == json.loads(bytes(HALF))


class TestBackends:
    """Their answers, too: the client's command is refused, and the connection stays."""

    @both_encodings
    @pytest.mark.parametrize("event", ["subscribe", "publish", "rpc"])
    @pytest.mark.parametrize("levels", DEEP)
    async def test_an_answer_that_nests_too_deep(self, edge, backend, format, event, levels, caplog):
        deep = bytes(nested(levels))
        answer_everything(backend)
        backend.rpc["deep"] = lambda data, caller: deep
        backend.hooks["publish"] = lambda data, caller: b'{"result":{"data":%s}}' % deep
        backend.hooks["subscribe"] = lambda data, caller: b'{"result":{"info":%s}}' % deep
        request = {
            "subscribe": SubscribeRequest("asked:x"),
            "publish": PublishRequest("asked:x", Raw(b"1")),
            "rpc": RPCRequest(method="deep"),
        }[event]
        talk = await connected(edge, format)
        with caplog.at_level(logging.INFO):
            assert (await ask(talk, 10, **{event: request}))["error"]["code"] == 107
        assert [record.getMessage().count("nested deeper") for record in caplog.records] == [1], "logged once"
        (refused,) = [fact for fact in edge.sessions.events if isinstance(fact, Refused)]
        assert refused.reason.startswith("the answer: "), "no mistake of the client"

    async def test_one_in_base64_too(self, edge, backend):
        answer_everything(backend)
        deep = base64.b64encode(bytes(nested(200)))
        backend.hooks["publish"] = lambda data, caller: b'{"result":{"b64data":"%s"}}' % deep
        talk = await connected(edge)
        assert (await ask(talk, 10, publish=PublishRequest("asked:x", Raw(b"1"))))["error"]["code"] == 107

    async def test_an_answer_with_half_of_an_emoji_is_passed_on(self, edge, backend):
        answer_everything(backend)
        backend.hooks["publish"] = lambda data, caller: b'{"result":{"data":%s}}' % bytes(HALF)
        reader, writer = await connected(edge), await connected(edge)
        await reader.subscribe("asked:x")
        assert "publish" in await ask(writer, 10, publish=PublishRequest("asked:x", Raw(b"1")))
        assert await eventually(lambda: reader.values("asked:x")) == [json.loads(bytes(HALF))]


@pytest.mark.parametrize(
    "data", [nested(200), nested(976), Raw(b"\xff"), Raw(b"{")], ids=["200", "976", "bytes", "cut"]
)
@pytest.mark.parametrize("channel", ["chat:x", "live:x", "diff:x"])
async def test_what_came_past_the_checks_is_left_out_for_json_and_counted(edge, channel, data):
    """Published on NATS itself, or by a Protobuf client."""
    text, binary = await connected(edge), await connected(edge, WEBSOCKET_PROTOBUF)
    start = await text.subscribe(channel, delta="fossil")
    await binary.subscribe(channel)
    long = "x" * 200
    for value in (Raw(json.dumps([1, long]).encode()), data, Raw(json.dumps([2, long]).encode())):
        await edge.node.publish(channel, rules_of(channel), Publication(value))
        await settled()
    await eventually(lambda: len(binary.publications(channel)) == 3)
    seen = [json.loads(value) if channel == "diff:x" else value for value in text.values(channel)]
    assert seen == [[1, long], [2, long]], "and no difference counts from what was left out"
    assert text.closed == binary.closed == 0 and edge.tally.left_out == 1
    if channel == "live:x":
        return
    late = await connected(edge)
    found = await late.subscribe(channel, recover=True, offset=start.get("offset", 0), epoch=start["epoch"])
    assert found["recovered"] and [each["data"][0] for each in found["publications"]] == [1, 2]
    assert [
        each["data"][0]
        for each in (await late.ask(history={"channel": channel, "limit": 5}))["history"]["publications"]
    ] == [1, 2]
    assert late.closed == 0 and edge.tally.left_out == 3
