"""The whole reach of what a backend may answer to a hook: each field, and what clients of both encodings see of it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proto.codec_protobuf import decode_replies
from tests.support.edges import WireClient, api, start_edge_in_memory, wire_client
from tests.support.http_backend import Asked, HttpDouble, answer, http_double
from tests.support.metrics import metric
from tests.support.processes import ServiceProcess, Services

pytestmark = [pytest.mark.integration, pytest.mark.native]

TOML = """
[client]
connect_hook = true
connect_backend = "app"
[[channel.namespaces]]
name = "chat"
history_size = 10
history_ttl = "1h"
presence = true
subscribe_hook = true
subscribe_backend = "app"
publish_hook = true
publish_backend = "app"
[[channel.namespaces]]
name = "live"
allow_subscribe_for_client = true
publish_hook = true
publish_backend = "app"
[[channel.namespaces]]
name = "now"
history_size = 1
history_ttl = "1h"
force_recovery = true
force_recovery_mode = "cache"
[[backends]]
name = "app"
url = "%s/{event}"
include_connection_meta = true
"""

BYTES = b"\x01\x00\xff"
YES: dict[str, Any] = {"result": {}}


class Application:
    """Answers connects by `connect`, everything else by `answers`, first those of the channel."""

    def __init__(self) -> None:
        self.connect: dict[str, Any] = {"user": "56"}
        self.answers: dict[str, Any] = {}
        self.asked: list[Any] = []

    def __call__(self, asked: Asked) -> bytes:
        question = asked.question
        self.asked.append(question)
        if asked.path == "/connect":
            return answer({"result": self.connect | (question.get("data") or {})})
        return answer(self.answers.get(question["channel"], YES))


@pytest.fixture
async def app() -> Application:
    return Application()


@pytest.fixture
async def double(app: Application) -> AsyncIterator[HttpDouble]:
    async with http_double(app) as made:
        yield made


@pytest.fixture
async def edge(services: Services, double: HttpDouble) -> ServiceProcess:
    return await start_edge_in_memory(services, toml=TOML % double.url).ready()


def b64(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


async def presence(edge: ServiceProcess, channel: str) -> dict[str, Any]:
    """Who is in a channel, by the user."""
    members = (await api(edge, "presence", {"channel": channel})).json()["result"]["presence"]
    return {each["user"]: each for each in members.values()}


async def history(edge: ServiceProcess, channel: str) -> list[Any]:
    found = (await api(edge, "history", {"channel": channel, "limit": -1})).json()["result"]["publications"]
    return [each["data"] for each in found]


async def test_each_field_of_a_connect_answer_does_what_it_says(edge, app, encoding):
    await api(edge, "publish", {"channel": "now:price", "data": {"eur": 7}})
    in_an_hour = int(time.time()) + 3600
    app.connect = {
        "user": "56",
        "expire_at": in_an_hour,
        "info": {"name": "Ann"},
        "data": {"hello": "Ann"},
        "meta": {"plan": "pro"},
        "channels": ["chat:all"],
        "subs": {
            "chat:a": {
                "info": {"role": "owner"},
                "data": {"topic": "tea"},
                "expire_at": in_an_hour,
                "override": {"join_leave": {"value": True}, "force_push_join_leave": {"value": True}},
            },
            "chat:b": {
                "b64info": b64({"role": "guest"}),
                "b64data": b64({"topic": "milk"}),
                "override": {"force_recovery": {"value": True}, "presence": {"value": False}},
            },
            "chat:c": {"override": {"force_positioning": {"value": True}}},
            "now:price": {"cache_recover": True},
            "now:nothing": {"cache_recover": True},
        },
    }
    async with wire_client(edge) as client:
        reply = (await client.ask(connect={}))["connect"]
        assert (reply["data"], reply["expires"]) == ({"hello": "Ann"}, True) and 3590 < reply["ttl"] <= 3600
        subs = reply["subs"]
        assert sorted(subs) == ["chat:a", "chat:all", "chat:b", "chat:c", "now:nothing", "now:price"]
        assert subs["chat:a"]["data"] == {"topic": "tea"} and subs["chat:a"]["expires"] is True
        assert subs["chat:b"]["data"] == {"topic": "milk"} and "expires" not in subs["chat:b"]
        assert [subs[channel].get("recoverable", False) for channel in sorted(subs)][:4] == [False, False, True, False]
        assert [subs[channel].get("positioned", False) for channel in sorted(subs)][:4] == [False, False, True, True]
        assert [each["data"] for each in subs["now:price"]["publications"]] == [{"eur": 7}]
        assert subs["now:price"]["recovered"], "or SDKs would not deliver it"
        assert "publications" not in subs["now:nothing"] and await metric(edge, "unrecovered_total") == 0
        assert (await client.push("chat:a"))["join"]["info"]["user"] == "56", "only where the answer says so"
        assert (await presence(edge, "chat:a"))["56"] == {
            "user": "56",
            "client": reply["client"],
            "conn_info": {"name": "Ann"},
            "chan_info": {"role": "owner"},
        }
        assert await presence(edge, "chat:b") == {}
        assert set(await presence(edge, "chat:all")) == {"56"}
        await client.ask_in_any_order(publish={"channel": "chat:b", "data": 1})
        assert app.asked[-1]["meta"] == {"plan": "pro"}
        info = (await client.push("chat:b"))["pub"]["info"]
        assert info["chan_info"] == {"role": "guest"}, "others see it in publications, though not in presence"


async def test_each_field_of_a_subscribe_answer_does_what_it_says(edge, app, encoding):
    terms = {"b64info": b64({"seat": 1}), "b64data": b64("tea"), "expire_at": int(time.time()) + 3600}
    switches = {"presence": {"value": False}, "force_recovery": {"value": True}}
    app.answers = {
        "chat:a": {"result": terms},
        "chat:b": {"result": {"data": [1], "info": 2, "override": switches}},
        "chat:c": {"result": {"expire_at": int(time.time()) - 1}},
    }
    async with wire_client(edge) as client:
        await client.ask(connect={})
        a = await client.subscribe("chat:a")
        assert (a["data"], a["expires"]) == ("tea", True) and 3590 < a["ttl"] <= 3600 and not a.get("recoverable")
        b = await client.subscribe("chat:b")
        assert b["data"] == [1] and b["recoverable"] and b["positioned"] and "expires" not in b
        assert (await client.ask(subscribe={"channel": "chat:c"}))["error"]["code"] == 110
        assert (await presence(edge, "chat:a"))["56"]["chan_info"] == {"seat": 1}
        assert await presence(edge, "chat:b") == {}


async def test_bytes_that_are_not_json_reach_a_client_on_protobuf_and_nobody_on_json(edge, app):
    in_base64 = base64.b64encode(BYTES).decode()
    app.connect = {"user": "56", "b64data": in_base64, "subs": {"chat:a": {"b64data": in_base64}}}
    app.answers["chat:b"] = {"result": {"b64data": in_base64}}
    async with wire_client(edge, "protobuf") as client:
        await client.send({"id": 1, "connect": {}})
        (reply,) = decode_replies(await socket_bytes(client))
        assert reply.connect is not None and bytes(reply.connect.data) == BYTES
        assert bytes(reply.connect.subs["chat:a"].data) == BYTES
        await client.send({"id": 2, "subscribe": {"channel": "chat:b"}})
        (reply,) = decode_replies(await socket_bytes(client))
        assert reply.subscribe is not None and bytes(reply.subscribe.data) == BYTES
    async with wire_client(edge, "json") as client:
        assert (await client.ask(connect={}))["error"]["code"] == 100
    assert "a backend's answer to the connect hook is unusable: the answer's b64data is not JSON" in edge.log()


async def socket_bytes(client: WireClient) -> bytes:
    frame = await asyncio.wait_for(client.socket.recv(), 10)
    assert isinstance(frame, bytes)
    return frame


async def test_each_field_of_a_publish_answer_does_what_it_says(edge, app, encoding):
    async with wire_client(edge) as alice, wire_client(edge) as bob:
        for each, user in ((alice, "alice"), (bob, "bob")):
            await each.ask(connect={"data": {"user": user}})
        await bob.subscribe("chat:x")

        async def publish(client: WireClient, said: Any, /, **result: Any) -> dict[str, Any]:
            app.answers["chat:x"] = {"result": result}
            return await client.ask_in_any_order(publish={"channel": "chat:x", "data": said})

        await publish(alice, "as it is", delta=True)
        await publish(alice, "rude", data={"mild": 1}, tags={"kind": "chat"})
        await publish(alice, "rude", b64data=b64("milder"))
        await publish(alice, "passing", skip_history=True)
        for client in (alice, bob, alice):
            await publish(client, "order", idempotency_key="order-7")
        for number, epoch in ((5, "a"), (4, "a"), (5, "a"), (6, "a"), (1, "b")):
            assert "error" not in await publish(bob, f"{epoch}{number}", version=number, version_epoch=epoch)
        kept = ["as it is", {"mild": 1}, "milder", "order", "a5", "a6", "b1"]
        got = [await bob.push("chat:x") for _ in range(8)]
        assert [each["pub"]["data"] for each in got] == [*kept[:3], "passing", *kept[3:]]
        assert got[1]["pub"]["tags"] == {"kind": "chat"} and "tags" not in got[0]["pub"]
        assert await history(edge, "chat:x") == kept
        app.answers["live:x"] = {"result": {"version": 1}}
        refused = await alice.ask(publish={"channel": "live:x", "data": 1})
        assert refused["error"]["code"] == 100
        assert "the publish hook's answer has a version, and the channel has no history" in edge.log()


async def test_a_key_of_the_publish_answer_is_that_of_the_server_api(edge, app):
    call = {"channel": "chat:x", "data": "by the API", "idempotency_key": "order-7"}
    at = (await api(edge, "publish", call)).json()["result"]
    app.answers["chat:x"] = {"result": {"idempotency_key": "order-7"}}
    async with wire_client(edge) as client:
        await client.ask(connect={})
        again = await client.ask(publish={"channel": "chat:x", "data": "by a client"})
        assert again["publish"]["offset"] == at["offset"]
    assert await history(edge, "chat:x") == ["by the API"]
