"""Stock clients and an application's backend on NATS: RPCs, messages, and the hooks by which the backend decides.

A client tells the backend which answer it shall give: `answer` in its data, or in the `meta` of its token.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.support.edges import api, in_seconds, token
from tests.support.eventually import eventually
from tests.support.stock_clients import KINDS, events_of, receives, sees
from tests.support.stock_errors import CommandFailed

pytestmark = [pytest.mark.integration, pytest.mark.once]

NOT_ALLOWED = {"error": {"code": 403, "message": "not for you"}}
BANNED = {"disconnect": {"code": 4501, "reason": "banned"}}


@pytest.fixture(scope="module")
def shared_settings():
    return {
        "FAIRLEAD_CLIENT_CONNECT_HOOK": "true",
        "FAIRLEAD_CLIENT_REFRESH_HOOK": "true",
        "FAIRLEAD_CLIENT_ALLOW_SEND": "true",
        "FAIRLEAD_CLIENT_RPC_TIMEOUT": "500ms",
        "FAIRLEAD_CLIENT_SUBSCRIBE_TO_USER_PERSONAL_CHANNEL": "true",
        "FAIRLEAD_CLIENT_USER_PERSONAL_CHANNEL_NAMESPACE": "room",
    }


class Application:
    """A backend that keeps its questions: (subject, headers, body)."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self._together: list[Msg] = []

    async def listen(self) -> None:
        for subject, function in (("rpc.>", self._call), ("hook.>", self._decide), ("send.>", None)):
            await self._connection.subscribe(subject, cb=functools.partial(self._hear, function))
        await self._connection.rtt()  # the server knows

    async def _hear(self, function, message: Msg) -> None:
        self.asked.append((message.subject, dict(message.headers or {}), message.data))
        if function:
            await function(message)

    async def _decide(self, message: Msg) -> None:
        question = json.loads(message.data)
        told = question.get("data") or question.get("meta") or {}
        await message.respond(json.dumps(told.get("answer", {})).encode())

    async def _call(self, message: Msg) -> None:
        method = message.subject.split(".")[1]
        if method == "echo":
            await message.respond(message.data)
        elif method == "fail":
            error = {"Nats-Service-Error-Code": "423", "Nats-Service-Error": "locked \N{LOCK}"}
            await self._connection.publish(message.reply, headers=error)
        elif method == "together":  # none is answered before all three have come
            self._together.append(message)
            if len(self._together) == 3:
                held, self._together = self._together, []
                for each in reversed(held):
                    await each.respond(each.data)
        elif method == "bytes":
            await message.respond(b"\xff\x00")

    def questions(self, subject: str) -> list[dict[str, object]]:
        return [json.loads(body) for asked, _, body in self.asked if asked == subject]


@pytest.fixture
async def application(shared_nats) -> AsyncIterator[Application]:
    connection = await nats.connect(shared_nats.url)
    made = Application(connection)
    await made.listen()
    yield made
    await connection.close()


# --- calls of clients -----------------------------------------------------------------------------------------------


async def test_a_backend_answers_rpcs_and_its_errors_reach_the_application(shared_pair, client, application, x, kind):
    for edge in shared_pair:
        alice = client(edge, "al\N{LATIN SMALL LETTER I WITH ACUTE}ce")
        await alice.connect()
        payloads: list[object] = [{"text": "\N{SNOWMAN}", "n": [1, 2.5]}, "", 0, []]
        for data in payloads:
            assert await alice.rpc(f"echo.{x}", data) == data
        subject, headers, _ = application.asked[-1]
        assert subject == f"rpc.echo.{x}" and headers["Fairlead-User"] == "al%C3%ADce"
        assert headers["Fairlead-Encoding"] == kind.partition("-")[2]
        for method, code in (("fail", 423), ("silence", 100)):
            with pytest.raises(CommandFailed) as failed:
                await alice.rpc(method, 1)
            assert failed.value.code == code
            assert method != "fail" or "locked \N{LOCK}" in str(failed.value)
        if kind.endswith("protobuf"):
            assert await alice.rpc("bytes", b"\x00\xfe") == b"\xff\x00"
            assert application.asked[-1][2] == b"\x00\xfe"
        else:
            with pytest.raises(CommandFailed) as failed:
                await alice.rpc("bytes", 1)
            assert failed.value.code == 100, "bytes that are no JSON cannot be told to it"
        assert not events_of(alice, "disconnected")


async def test_slow_rpcs_of_one_client_run_beside_each_other_and_hold_up_no_subscribe(
    shared_pair, client, application, x
):
    for edge in shared_pair:
        alice = client(edge, f"alice-{x}")
        await alice.connect()
        calls = [asyncio.create_task(alice.rpc("together", n)) for n in range(3)]
        await alice.subscribe(f"chat:{x}")
        assert sorted(await asyncio.gather(*calls)) == [0, 1, 2]
        assert not events_of(alice, "disconnected") and len(events_of(alice, "connected")) == 1


async def test_an_rpc_that_nobody_answers_is_not_available(shared_pair, client):
    for edge in shared_pair:
        alice = client(edge, "alice")
        await alice.connect()
        with pytest.raises(CommandFailed) as failed:
            await alice.rpc("unknown", {})
        assert failed.value.code == 108


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_a_message_without_an_answer_reaches_the_backend(shared_pair, stock, application, encoding, x):
    """Only the JavaScript SDK sends such."""
    alice = stock.of(f"js-{encoding}")(shared_pair[0], f"alice-{x}")
    await alice.connect()
    await alice.send({"mood": "\N{SNOWMAN}"})
    await eventually(lambda: application.questions(f"send.alice-{x}") == [{"mood": "\N{SNOWMAN}"}])
    await alice.rpc(f"echo.{x}", 1)
    assert not events_of(alice, "disconnected")


# --- decisions of the backend ---------------------------------------------------------------------------------------


async def test_a_backend_lets_a_client_in_without_a_token_and_gives_it_channels(
    shared_pair, client, other, application, x, kind
):
    a, b = shared_pair
    user = f"alice-{x}"
    answer = {
        "result": {
            "user": user,
            "info": {"name": "Alice"},
            "data": {"welcome": "\N{SNOWMAN}"},
            "subs": {f"room:{x}": {"info": {"seat": 1}, "data": {"topic": 2}}},
            "channels": [f"chat:{x}"],
        }
    }
    emulated = {"headers": {"Authorization": "Bearer 7"}} if kind.startswith("js") else {}  # the others have none
    data = {"answer": answer, "password": "open sesame"}
    alice = client(a, data=data, name="tester", version="1.2.3", **emulated)
    await alice.connect()
    asked = application.questions("hook.connect")[-1]
    assert asked.get("headers") == emulated.get("headers")
    assert asked["data"]["password"] == "open sesame" and asked["transport"] == "websocket"
    assert (asked["name"], asked["version"]) == ("tester", "1.2.3")
    assert events_of(alice, "connected")[0]["data"] == {"welcome": "\N{SNOWMAN}"}
    await sees(alice, "join", f"room:{x}")
    assert events_of(alice, "subscribed", f"room:{x}")[0]["data"] == {"topic": 2}
    assert events_of(alice, "subscribed", f"room:#{user}")
    info = events_of(alice, "join", f"room:{x}")[0]["info"]
    assert (info["user"], info["conn_info"], info["chan_info"]) == (user, {"name": "Alice"}, {"seat": 1})
    bob = other(b, "bob")
    await bob.connect()
    await bob.subscribe(f"chat:{x}")
    await bob.publish(f"chat:{x}", "hello")
    await receives(alice, f"chat:{x}", ["hello"])


@pytest.mark.parametrize(
    ("answer", "code"), [(NOT_ALLOWED, 403), (BANNED, 4501), ({}, 3501)], ids=["error", "disconnect", "unknown"]
)
async def test_a_backend_lets_a_client_not_in(shared_edge, client, application, answer, code):
    eve = client(shared_edge, data={"answer": answer})
    with pytest.raises(CommandFailed):
        await eve.connect()
    await sees(eve, "disconnected")
    assert events_of(eve, "disconnected")[0]["code"] == code and len(events_of(eve, "connecting")) == 1


async def test_while_no_backend_is_there_a_client_tries_again_until_one_is(shared_edge, client, shared_nats):
    alice = client(shared_edge, data={"answer": {"result": {"user": "alice"}}})
    await alice.connect(wait=False)
    await eventually(lambda: [e for e in events_of(alice, "error") if e["code"] == 100])
    connection = await nats.connect(shared_nats.url)
    try:
        await Application(connection).listen()
        await sees(alice, "connected")
    finally:
        await connection.close()
    assert len(events_of(alice, "connecting")) == 1 and not events_of(alice, "disconnected")


async def test_a_backend_decides_about_subscriptions_and_publications(shared_pair, client, other, application, x):
    a, b = shared_pair
    channel = f"hooked:{x}"
    alice, bob = client(a, "alice"), other(b, "bob")
    for each, seat in ((alice, 1), (bob, 2)):
        await each.connect()
        terms = {"result": {"info": {"seat": seat}, "data": {"topic": "\N{SNOWMAN}"}}}
        await each.subscribe(channel, data={"answer": terms, "wish": seat})
    assert [asked["data"]["wish"] for asked in application.questions("hook.subscribe")] == [1, 2]
    assert events_of(alice, "subscribed", channel)[0]["data"] == {"topic": "\N{SNOWMAN}"}
    changed = {"result": {"data": {"text": "mild"}, "tags": {"checked": "yes"}}}
    await bob.publish(channel, {"answer": {"result": {}}, "text": "as it is"})
    await bob.publish(channel, {"answer": changed, "text": "rude"}, own=True)
    await bob.publish(channel, {"answer": {"result": {"skip_history": True}}, "text": "forget it"})
    with pytest.raises(CommandFailed) as refused:
        await bob.publish(channel, {"answer": NOT_ALLOWED})
    assert refused.value.code == 403 and "not for you" in str(refused.value)
    for each in (alice, bob):
        as_it_is, mild, forgotten = await sees(each, "publication", channel, 3)
        assert as_it_is["data"]["text"] == "as it is" and not as_it_is["tags"]
        assert mild["data"] == {"text": "mild"} and mild["tags"] == {"checked": "yes"}
        assert mild["info"]["chan_info"] == {"seat": 2}
        assert forgotten["data"]["text"] == "forget it"
    kept = (await api(a, "history", {"channel": channel, "limit": 9})).json()["result"]["publications"]
    assert [pub["data"]["text"] for pub in kept] == ["as it is", "mild"]


@pytest.mark.parametrize("answer", [NOT_ALLOWED, BANNED], ids=["error", "disconnect"])
async def test_a_backend_refuses_a_subscription(shared_edge, client, application, answer, x):
    eve = client(shared_edge, "eve")
    await eve.connect()
    await eve.subscribe(f"hooked:{x}", data={"answer": answer}, wait=False)
    event, code = ("unsubscribed", 403) if answer is NOT_ALLOWED else ("disconnected", 4501)
    await sees(eve, event)
    assert events_of(eve, event)[0]["code"] == code


async def test_a_publication_that_the_backend_punishes_ends_the_connection(shared_edge, client, application, x):
    eve = client(shared_edge, "eve")
    await eve.connect()
    with pytest.raises(CommandFailed):
        await eve.publish(f"hooked:{x}", {"answer": BANNED})
    await sees(eve, "disconnected")
    assert events_of(eve, "disconnected")[0]["code"] == 4501


async def test_a_backend_prolongs_connections_or_lets_them_expire(shared_pair, stock, application):
    """The clients are not asked for tokens. All kinds at once, as it takes seconds."""
    await stock.ready()
    clients = []
    for number, kind in enumerate(KINDS):
        soon = in_seconds(2)
        good = {"answer": {"result": {"expire_at": in_seconds(600)}}}
        stays = stock.of(kind)(shared_pair[number % 2], token=token(f"stays-{kind}", exp=soon, meta=good))
        bad = {"answer": {"result": {"expired": True}}}
        goes = stock.of(kind)(shared_pair[number % 2], token=token(f"goes-{kind}", exp=soon, meta=bad))
        await stays.connect()
        await goes.connect()
        clients.append((stays, goes))
    for stays, goes in clients:
        await sees(goes, "disconnected")
        assert [e["code"] for e in events_of(goes, "connecting")] == [0, 3005]
        assert not events_of(stays, "connecting")[1:]
    users = sorted(f"{what}-{kind}" for what in ("goes", "stays") for kind in KINDS)
    await eventually(lambda: sorted(asked["user"] for asked in application.questions("hook.refresh")) == users)


# --- channels of one's own ------------------------------------------------------------------------------------------


async def test_every_user_has_a_channel_of_its_own(shared_pair, client, other, x):
    a, b = shared_pair
    user = f"alice-{x}"
    here, there = client(a, user), other(b, user)
    for each in (here, there):
        await each.connect()
        await sees(each, "subscribed", f"room:#{user}")
    await api(a, "publish", {"channel": f"room:#{user}", "data": "for you"})
    for each in (here, there):
        await receives(each, f"room:#{user}", ["for you"])
    await here.disconnect()
    await api(b, "publish", {"channel": f"room:#{user}", "data": "missed"})
    await here.connect()
    await receives(here, f"room:#{user}", ["for you", "missed"])
