"""A backend on NATS with a table of its own: subjects and headers of NATS, questions and answers of HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from msgspec import Raw
from nats.aio.client import Client
from nats.aio.msg import Msg

from proto.codes import CloseCode
from proto.signature import is_signed
from services.edge.arrival import Arrival
from services.edge.backend.backend import BackendAway, BackendDisconnect, BackendError, BadAnswer, Caller
from services.edge.backend.named_backend_nats import NamedNatsBackend
from services.edge.backend_settings import BackendSettings
from tests.support.links import linked
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

ALICE = Caller(
    "alice",
    "c1",
    Raw(b'{"name":"Alice"}'),
    Raw(b'{"plan":"pro"}'),
    arrival=Arrival(headers={"cookie": "id=7\r\nNats-Service-Error-Code: 400", "x-name": "zo\xc3\xab"}),
    emulated={"authorization": "Bearer 7"},
)
LONG_S, SHORT_S = 10.0, 0.05
SECRET = "a secret of sixteen or more"
NOW = 1_796_000_000.5

Answer = Callable[[Msg], Any]
Asking = Callable[..., Awaitable[NamedNatsBackend]]


class Application:
    """Answers every question by `answer`, and keeps them."""

    def __init__(self) -> None:
        self.asked: list[Msg] = []
        self.answer: Any = {"result": {}}

    async def hear(self, message: Msg) -> None:
        self.asked.append(message)
        if isinstance(self.answer, dict):
            await message.respond(json.dumps(self.answer).encode())
        elif self.answer is not None:
            await message.respond(self.answer)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Application, Client]]:
    application, connection = Application(), await nats.connect(url)
    try:
        for subject in ("hook.>", "rpc.>"):
            await connection.subscribe(subject, "backend", application.hear)
        await connection.rtt()
        yield application, connection
    finally:
        await connection.close()


@pytest.fixture
async def app(nats_server: NatsServer) -> AsyncIterator[Application]:
    async with listening(nats_server.url) as (application, _):
        yield application


@pytest.fixture
async def asking(nats_server: NatsServer) -> AsyncIterator[Callable[..., NamedNatsBackend]]:
    async with linked(nats_server.url) as link:

        def make(**settings: Any) -> NamedNatsBackend:
            table = BackendSettings(name="app", url="nats://", **settings)
            return NamedNatsBackend(link, table, lambda: NOW)

        yield make


async def test_a_hook_comes_on_the_subject_of_its_event_with_the_headers_of_the_table(app, asking):
    backend = asking(
        secret=SECRET,
        http_headers=["Cookie", "X-Name"],
        emulated_headers=["Authorization"],
        static_headers={"X-Key": "k"},
    )
    question = b'{"client":"c1"}'
    assert await backend.ask("connect", question, ALICE, LONG_S) == b'{"result": {}}'
    (message,) = app.asked
    assert (message.subject, message.data) == ("hook.connect", question)
    headers = dict(message.headers)
    assert is_signed([SECRET], headers.pop("Fairlead-Signature"), message.data, NOW)
    assert headers == {
        "Fairlead-User": "alice",
        "Fairlead-Client": "c1",
        "Fairlead-Transport": "websocket",
        "Fairlead-Encoding": "json",
        "Fairlead-Info": '{"name":"Alice"}',
        "Fairlead-Meta": '{"plan":"pro"}',
        "X-Key": "k",
        "Authorization": "Bearer 7",
        "Cookie": "id=7Nats-Service-Error-Code: 400",
        "X-Name": "zoë",
    }


async def test_without_lists_and_a_secret_it_has_the_headers_of_every_question(app, asking):
    await asking().ask("subscribe", b"{}", ALICE, LONG_S)
    assert {name.partition("-")[0] for name in app.asked[0].headers} == {"Fairlead"}
    assert "Fairlead-Signature" not in app.asked[0].headers


async def test_an_rpc_is_a_question_as_over_http_so_that_the_signature_covers_its_user(app, asking):
    backend = asking(secret=SECRET)
    app.answer = {"result": {"b64data": "/wA="}}
    assert await backend.call("orders.list", b'{"a":1}', ALICE, LONG_S) == b"\xff\x00"
    (message,) = app.asked
    assert message.subject == "rpc.orders.list"
    assert json.loads(message.data) == {
        "client": "c1",
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        "user": "alice",
        "method": "orders.list",
        "data": {"a": 1},
    }
    assert is_signed([SECRET], message.headers["Fairlead-Signature"], message.data, NOW)


async def test_an_rpc_may_be_refused_or_end_the_connection(app, asking):
    backend = asking()
    app.answer = {"error": {"code": 409, "message": "shipped already"}}
    with pytest.raises(BackendError) as refused:
        await backend.call("order", b"1", ALICE, LONG_S)
    assert tuple(refused.value.error) == (409, "shipped already", False)
    app.answer = {"disconnect": {"code": 4501, "reason": "banned"}}
    with pytest.raises(BackendDisconnect) as ended:
        await backend.call("order", b"1", ALICE, LONG_S)
    assert ended.value.close == CloseCode(4501, "banned")
    app.answer = b"plain text"
    with pytest.raises(BadAnswer):
        await backend.call("order", b"1", ALICE, LONG_S)
    with pytest.raises(BackendError):
        await backend.call("no..method", b"1", ALICE, LONG_S)


async def test_the_time_of_the_table_holds_if_it_is_less(app, asking):
    app.answer = None
    with pytest.raises(BackendAway) as away:
        await asking(timeout=SHORT_S).ask("connect", b"{}", ALICE, LONG_S)
    assert away.value.cause == "timeout"
    with pytest.raises(BackendAway) as away:
        await asking(timeout=4).ask("connect", b"{}", ALICE, SHORT_S)
    assert away.value.cause == "timeout"


async def test_that_nobody_listens_is_known_at_once(asking):
    with pytest.raises(BackendAway) as away:
        await asking().ask("connect", b"{}", ALICE, LONG_S)
    assert away.value.cause == "no_responders"
