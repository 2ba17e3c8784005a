"""A backend that was written for Centrifugo's HTTP proxies answers an edge unchanged, whatever clients speak.

`Proxy` is made from the public documentation ("Proxy events to the backend", version 6): the requests that it expects
and the responses that it gives are those of its examples.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets

from tests.support.edges import start_edge_in_memory, wire_client
from tests.support.eventually import eventually
from tests.support.http_backend import Asked, HttpDouble, answer, http_double
from tests.support.metrics import metric
from tests.support.processes import ServiceProcess, Services

BASE = {"transport": "websocket", "encoding": "json"}

TOML = """
[client]
allowed_origins = ["https://example.com"]
connect_hook = true
connect_backend = "app"
connect_code_to_unidirectional_disconnect = [{code = 403, to = {code = 4903, reason = "forbidden"}}]
refresh_hook = true
refresh_backend = "app"
[rpc]
backend = "app"
[[channel.namespaces]]
name = "chat"
subscribe_hook = true
subscribe_backend = "app"
publish_hook = true
publish_backend = "app"
sub_refresh_hook = true
sub_refresh_backend = "app"
[[backends]]
name = "app"
url = "%s/centrifugo/{event}"
http_headers = ["Cookie", "Origin", "User-Agent", "X-Real-Ip"]
emulated_headers = ["Authorization"]
static_headers = {X-Custom-Header = "custom value"}
include_connection_meta = true
status_to_code_transforms = [{status_code = 403, to_error = {code = 403, message = "permission denied"}}]
"""


class Proxy:
    """Knows the sessions of one site's cookies. `answers` are those of one channel, or of the method of one RPC."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.expires_in = 3600.0
        self.forbidden = b""
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> bytes:
        self.asked.append(asked)
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["x-custom-header"] == "custom value"
        question = asked.question
        if (given := self.answers.get(question.get("channel", question.get("method", "")))) is not None:
            return given
        match asked.path:
            case "/centrifugo/connect":
                return self.forbidden if self.forbidden else answer(self._connect(asked))
            case "/centrifugo/refresh" | "/centrifugo/sub_refresh":
                return answer({"result": {"expire_at": int(time.time()) + 3600}})
            case "/centrifugo/subscribe" | "/centrifugo/publish":
                return answer({"result": {}})
            case "/centrifugo/rpc":
                return answer({"result": {"data": {"answer": "2019"}}})
        return answer(b"", "404 Not Found")

    def _connect(self, asked: Asked) -> object:
        if asked.headers.get("cookie") != "sessionid=56" and asked.headers.get("authorization") != "Bearer 56":
            return {"disconnect": {"code": 4501, "reason": "unauthorized"}}
        return {
            "result": {
                "user": "56",
                "expire_at": int(time.time() + self.expires_in),
                "info": {"name": "Ann"},
                "data": {"hello": "Ann"},
                "meta": {"plan": "pro"},
            }
        }

    def questions(self, event: str) -> list[Any]:
        return [asked.question for asked in self.asked if asked.path == f"/centrifugo/{event}"]


@pytest.fixture
async def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
async def double(proxy: Proxy) -> AsyncIterator[HttpDouble]:
    async with http_double(proxy) as made:
        yield made


@pytest.fixture
async def edge(services: Services, double: HttpDouble) -> ServiceProcess:
    """With a proxy in front: the clients, which write what it would."""
    return await start_edge_in_memory(
        services, toml=TOML % double.url, FAIRLEAD_EDGE_TRUSTED_PROXIES="127.0.0.1"
    ).ready()


COOKIE: dict[str, Any] = {"additional_headers": {"Cookie": "sessionid=56", "X-Real-Ip": "192.0.2.1"}}


async def test_each_event_of_a_proxy_is_asked_and_answered_as_it_was(edge, proxy, encoding):
    base = BASE | {"protocol": encoding}
    async with wire_client(edge, **COOKIE, origin="https://example.com") as client:
        reply = await client.ask(connect={"name": "js", "version": "5.8.0", "data": {"a": 1}})
        assert reply["connect"]["data"] == {"hello": "Ann"}
        ident = reply["connect"]["client"]
        (connect,) = proxy.questions("connect")
        assert connect == base | {"client": ident, "name": "js", "version": "5.8.0", "data": {"a": 1}}
        headers = proxy.asked[0].headers
        assert (headers["cookie"], headers["origin"]) == ("sessionid=56", "https://example.com")
        assert headers["x-real-ip"] == "192.0.2.1" and "websockets" in headers["user-agent"]

        known = base | {"client": ident, "user": "56", "meta": {"plan": "pro"}}
        await client.subscribe("chat:index")
        assert proxy.questions("subscribe") == [known | {"channel": "chat:index"}]
        assert proxy.asked[-1].headers["cookie"] == "sessionid=56", "each question has the headers of the upgrade"

        assert "error" not in await client.ask_in_any_order(
            publish={"channel": "chat:index", "data": {"input": "hello"}}
        )
        assert (await client.push("chat:index"))["pub"]["data"] == {"input": "hello"}
        assert proxy.questions("publish") == [known | {"channel": "chat:index", "data": {"input": "hello"}}]

        call = {"method": "getCurrentPrice", "data": {"params": {"object_id": 12}}}
        assert (await client.ask(rpc=call))["rpc"] == {"data": {"answer": "2019"}}
        assert proxy.questions("rpc") == [known | call]


async def test_errors_disconnects_and_what_a_publish_answer_changes(edge, proxy, encoding):
    proxy.answers = {
        "chat:no": answer({"error": {"code": 1000, "message": "custom error"}}),
        "chat:forbidden": answer(b"<html>", "403 Forbidden"),
        "broken": answer({"error": {"code": 1000, "message": "custom error"}}),
        "out": answer({"disconnect": {"code": 4500, "reason": "disconnect reason"}}),
    }
    async with wire_client(edge, **COOKIE) as client:
        await client.ask(connect={})
        assert (await client.ask(subscribe={"channel": "chat:no"}))["error"] == {
            "code": 1000,
            "message": "custom error",
        }
        forbidden = (await client.ask(subscribe={"channel": "chat:forbidden"}))["error"]
        assert forbidden == {"code": 403, "message": "permission denied"}
        assert (await client.ask(rpc={"method": "broken"}))["error"]["code"] == 1000
        await client.subscribe("chat:index")
        proxy.answers["chat:index"] = answer({"result": {"data": {"input": "h****"}, "tags": {"kind": "chat"}}})
        await client.ask_in_any_order(publish={"channel": "chat:index", "data": {"input": "hello"}})
        assert (await client.push("chat:index"))["pub"]["data"] == {"input": "h****"}
        await client.send({"id": 7, "rpc": {"method": "out"}})
        assert await client.closed() == (4500, "disconnect reason")


async def test_a_browser_may_send_its_header_in_the_connect_command_and_nobody_else_s(edge, proxy, encoding):
    async with wire_client(edge) as client:
        reply = await client.ask(connect={"headers": {"Authorization": "Bearer 56", "X-Real-Ip": "127.0.0.1"}})
        assert reply["connect"]["data"] == {"hello": "Ann"}
        await client.subscribe("chat:index")
        for asked in proxy.asked:
            assert asked.headers["authorization"] == "Bearer 56" and "x-real-ip" not in asked.headers
        assert "headers" not in proxy.questions("connect")[0], "they are headers, and only those of the list"
    async with wire_client(edge) as stranger:
        await stranger.send({"id": 1, "connect": {}})
        assert await stranger.closed() == (4501, "unauthorized")
    async with wire_client(edge) as wordy:
        error = (await wordy.ask(connect={"headers": {"Authorization": "x" * 8193}}))["error"]
        assert error["code"] == 106 and "the headers of the connect have more than 8192 characters" in edge.log()


async def test_a_status_is_an_error_to_an_sdk_and_the_end_of_a_one_way_connection(edge, proxy, encoding):
    proxy.forbidden = answer(b"<html>", "403 Forbidden")
    async with wire_client(edge, **COOKIE) as client:
        assert (await client.ask(connect={}))["error"] == {"code": 403, "message": "permission denied"}
    async with websockets.connect(edge.ws_url.replace("websocket", "uni_websocket"), **COOKIE) as one_way:
        await one_way.send("{}")
        with pytest.raises(websockets.ConnectionClosed) as end:
            while await one_way.recv():
                pass
        assert end.value.rcvd is not None and (end.value.rcvd.code, end.value.rcvd.reason) == (4903, "forbidden")


async def test_a_connection_that_expires_is_refreshed_by_the_backend(edge, proxy, encoding):
    proxy.expires_in = 1.2
    async with wire_client(edge, **COOKIE) as client:
        ident = (await client.ask(connect={}))["connect"]["client"]
        await eventually(lambda: proxy.questions("refresh"))
        assert proxy.questions("refresh") == [
            BASE | {"protocol": encoding, "client": ident, "user": "56", "meta": {"plan": "pro"}}
        ]
        assert "error" not in await client.ask(rpc={"method": "x"})


async def test_a_subscription_that_expires_is_refreshed_by_the_backend(edge, proxy, encoding):
    proxy.answers["chat:index"] = answer({"result": {"expire_at": int(time.time()) + 2}})
    async with wire_client(edge, **COOKIE) as client:
        ident = (await client.ask(connect={}))["connect"]["client"]
        assert "expires" not in await client.subscribe("chat:index")
        await eventually(lambda: proxy.questions("sub_refresh"))
        known = BASE | {"protocol": encoding, "client": ident, "user": "56", "meta": {"plan": "pro"}}
        assert proxy.questions("sub_refresh")[0] == known | {"channel": "chat:index"}


async def test_a_backend_that_answers_nothing_usable_is_told_to_clients_to_metrics_and_to_the_log(edge, proxy, double):
    proxy.answers = {
        "chat:html": answer(b"<html>Oops</html>"),
        "chat:500": answer(b"Traceback", "500 Internal Server Error"),
        "chat:redirect": answer(b"", "302 Found", f"Location: {double.url}/centrifugo/subscribe\r\n"),
        "chat:large": answer(b"x" * 10_000_000),
        "chat:half": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"result"',
        "chat:away": answer(b"", "503 Service Unavailable"),
    }
    async with wire_client(edge, **COOKIE) as client:
        await client.ask(connect={})
        for channel in proxy.answers:
            if channel == "chat:half":
                double.closes = True
            error = (await client.ask(subscribe={"channel": channel}))["error"]
            double.closes = False
            assert (error["code"], error["temporary"]) == (100, True), channel
    counted = {
        cause: await metric(edge, f'backend_failures_total{{backend="app",call="hook.subscribe",cause="{cause}"}}')
        for cause in ("status", "bad_answer", "away", "timeout", "tls", "open")
    }
    assert counted == {"status": 2, "bad_answer": 3, "away": 1, "timeout": 0, "tls": 0, "open": 0}
    log = edge.log()
    assert "a backend's answer to the subscribe hook is unusable: " in log and "app answered with status 500" in log
    assert log.count("answer to the subscribe hook is unusable") <= 5, "one line for each, at a bounded rate"
    assert "sessionid" not in log
