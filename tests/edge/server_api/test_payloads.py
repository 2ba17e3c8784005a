"""Payloads in calls of the server API: too deep, half of an emoji, null. What one call may not, its batch may."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from proto.nesting import MAX_NESTING
from services.edge.rejection import Rejected
from services.edge.server_api.answers import encode_answer
from tests.edge.server_api.test_methods import ORIGIN, Api
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend

HALF = Raw(rb'["\ud83d"]')
DEEP = [MAX_NESTING + 1, 500, 976, 5000]


def nested(levels: int) -> Raw:
    return Raw(b"[" * levels + b"]" * levels)


def in_base64(data: Raw) -> str:
    return base64.b64encode(bytes(data)).decode()


@pytest.fixture
def backend() -> FunctionBackend:
    return FunctionBackend({"echo": lambda data, caller: data})


@pytest.fixture
async def edge(backend: FunctionBackend) -> TestEdge:
    return await TestEdge(EdgeCluster(), backend=backend).start()


@pytest.fixture
def api(edge: TestEdge) -> Api:
    return Api(edge)


async def call(api: Api, method: str, /, **fields: Any) -> Any:
    """The answer; payloads are bytes that json.dumps would not make."""
    try:
        return json.loads(encode_answer(await api.methods.call(method, msgspec.json.encode(fields), ORIGIN)))
    except Rejected as rejection:
        return json.loads(encode_answer(rejection))


CALLS: dict[str, Any] = {
    "publish": lambda data: ("publish", {"channel": "chat:x", "data": data}),
    "publish in base64": lambda data: ("publish", {"channel": "chat:x", "b64data": in_base64(data)}),
    "broadcast": lambda data: ("broadcast", {"channels": ["chat:x"], "data": data}),
    "subscribe info": lambda data: ("subscribe", {"user": "42", "channel": "chat:y", "info": data}),
    "subscribe data": lambda data: ("subscribe", {"user": "42", "channel": "chat:y", "b64data": in_base64(data)}),
    "send": lambda data: ("send", {"user": "42", "data": data}),
    "refresh": lambda data: ("refresh", {"user": "42", "info": data}),
    "rpc": lambda data: ("rpc", {"method": "echo", "params": data}),
}
with_each_payload = pytest.mark.parametrize("way", CALLS)


@with_each_payload
async def test_one_level_too_many_is_error_107_alone_and_in_a_batch_for_that_command(api, way):
    for levels in DEEP:
        method, fields = CALLS[way](nested(levels))
        answer = await call(api, method, **fields)
        assert answer["error"]["code"] == 107 and "nested deeper" in answer["error"]["message"], levels
        batch = await call(api, "batch", commands=[{method: fields}, {"publish": {"channel": "chat:x", "data": 1}}])
        first, second = batch["replies"]
        assert first["error"]["code"] == 107 and "publish" in second


@with_each_payload
@pytest.mark.parametrize("data", [nested(MAX_NESTING), HALF], ids=["deepest", "half"])
async def test_up_to_the_limit_and_with_half_of_an_emoji_it_is_carried_out(api, way, data):
    method, fields = CALLS[way](data)
    assert "result" in await call(api, method, **fields)


async def test_an_answer_of_a_backend_that_nests_too_deep_is_error_107(api, backend):
    backend.rpc["deep"] = lambda data, caller: bytes(nested(976))
    assert (await call(api, "rpc", method="deep"))["error"]["code"] == 107


async def test_half_of_an_emoji_travels_between_edges_and_to_clients(edge, api):
    """In server commands, and in what edges tell each other of members."""
    talk = await connected(edge)
    assert "result" in await call(api, "subscribe", user="", channel="room:y", info=HALF, data=HALF)
    await eventually(lambda: talk.channels == ["room:y"])
    (push,) = [push["subscribe"] for push in talk.pushes if "subscribe" in push]
    assert push["data"] == ["\ud83d"]
    (member,) = (await call(api, "presence", channel="room:y"))["result"]["presence"].values()
    assert member["chan_info"] == ["\ud83d"]


async def test_tags_are_text_and_have_no_halves(api):
    answer = await call(api, "publish", channel="chat:x", data=1, tags=Raw(rb'{"t":"\ud83d"}'))
    assert answer["error"]["code"] == 107 and "surrogate" in answer["error"]["message"]


NULLS: dict[str, dict[str, Any]] = {
    "publish": {"channel": "chat:x", "data": 1},
    "broadcast": {"channels": ["chat:x"], "data": 1},
    "subscribe": {"user": "42", "channel": "chat:x"},
    "unsubscribe": {"user": "42", "channel": "chat:x"},
    "disconnect": {"user": "42"},
    "refresh": {"user": "42"},
    "send": {"user": "42", "data": 1},
    "history": {"channel": "chat:x", "limit": 1},
    "channels": {},
    "rpc": {"method": "echo"},
    "batch": {"commands": []},
}


OPTIONAL = {("unsubscribe", "channel"), ("history", "limit")}


@pytest.mark.parametrize("method", NULLS)
async def test_null_is_the_same_as_a_field_that_is_left_out(api, method):
    given = NULLS[method]
    fields = api.methods._decoders[method].decode(b"{%s}" % msgspec.json.encode(given)[1:-1]).__struct_fields__
    nulls = {name: None for name in fields if name not in given}
    assert (await call(api, method, **given, **nulls)).keys() == (await call(api, method, **given)).keys()
    for name in given:
        if (method, name) not in OPTIONAL:
            answer = await call(api, method, **(given | {name: None}))
            assert answer["error"]["code"] == 107, f"{name} is required"


async def test_only_channels_of_binary_data_take_an_empty_payload(api: Api) -> None:
    assert "result" in await call(api, "publish", channel="binary:x")
    assert (await call(api, "publish", channel="chat:x"))["error"] == {
        "code": 107,
        "message": "bad request: expected data",
    }
    replies = (await call(api, "broadcast", channels=["binary:x", "chat:x"]))["result"]["responses"]
    assert ["error" in reply for reply in replies] == [False, True]
