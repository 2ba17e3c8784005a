"""A publish from its cause to its recipients as one tree of spans, read back from a receiver of OTLP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from proto.subjects import ephemeral
from tests.sessions.running import start as start_sessions
from tests.support.edges import API_KEY, WireClient, connected, start_pair, wire_client
from tests.support.eventually import eventually
from tests.support.otlp_receiver import Receiver, otlp_receiver
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]

TRACE, ROOT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{ROOT}-01"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as receiver:
        yield receiver


def tracing(receiver: Receiver, ratio: str) -> dict[str, str]:
    return {
        "FAIRLEAD_TRACING_ENDPOINT": receiver.endpoint,
        "FAIRLEAD_TRACING_SAMPLE_RATIO": ratio,
        "FAIRLEAD_LOG_FORMAT": "json",
    }


class Application:
    """A backend on NATS that answers RPCs and hooks, and keeps the `traceparent` of each question by its subject.

    `arrived` is called for a client that connects in a trace, before the hook is answered.
    """

    def __init__(self, connection: Client) -> None:
        self.connection = connection
        self.parents: dict[str, str] = {}
        self.arrived: Callable[[str], Awaitable[None]] | None = None

    async def listen(self) -> None:
        for subject in ("rpc.>", "hook.>"):
            await self.connection.subscribe(subject, cb=self._answer)
        await self.connection.rtt()

    async def _answer(self, message: Msg) -> None:
        parent = self.parents[message.subject] = (message.headers or {}).get("traceparent", "")
        if message.subject == "hook.connect" and self.arrived is not None:
            await self.arrived(parent)
        hooks = {"hook.connect": {"result": {"user": "alice"}}, "hook.publish": {"result": {}}}
        await message.respond(json.dumps(hooks.get(message.subject, {"sum": 3})).encode())


@contextlib.asynccontextmanager
async def application(server: NatsServer):
    connection = await nats.connect(server.url)
    try:
        app = Application(connection)
        await app.listen()
        yield app
    finally:
        await connection.close()


async def call(edge: ServiceProcess, method: str, body: Any, **headers: str) -> Any:
    async with http_client() as http:
        sent = {"X-API-Key": API_KEY, **headers}
        answer: httpx.Response = await http.post(f"{edge.url}/api/{method}", json=body, headers=sent, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def receives(client: WireClient, channel: str, data: Any) -> None:
    assert await client.publications(channel, 1) == [data]


async def test_a_publish_is_one_tree_over_two_edges_the_projection_a_hook_and_a_backend(
    services: Services, nats_server: NatsServer, postgres: Postgres, receiver: Receiver
):
    """A client connects in a trace: the backend that the hook asks announces it, and asks another in the same call."""
    traced = tracing(receiver, "1")
    sessions = start_sessions(
        services, nats_server, postgres, **{k.removeprefix("FAIRLEAD_"): v for k, v in traced.items()}
    )
    edges = await start_pair(services, nats_server, FAIRLEAD_CLIENT_CONNECT_HOOK="true", **traced)
    await sessions.ready()
    async with application(nats_server) as app, contextlib.AsyncExitStack() as clients:
        *receivers, arriving = [
            await clients.enter_async_context(wire_client(edges[number])) for number in (0, 1, 1, 1)
        ]
        for client in receivers:
            await client.connect()
            await client.subscribe("chat:tea")

        async def announce(parent: str) -> None:
            commands = [{"publish": {"channel": "chat:tea", "data": 7}}, {"rpc": {"method": "add", "params": [1, 2]}}]
            done = await call(edges[0], "batch", {"commands": commands}, traceparent=parent, tracestate="vendor=1")
            assert [list(reply) for reply in done["replies"]] == [["publish"], ["rpc"]]

        app.arrived = announce
        assert "connect" in await arriving.ask(connect={"headers": {"traceparent": PARENT, "tracestate": "vendor=1"}})
        for client in receivers:
            await receives(client, "chat:tea", 7)

    wanted: list[Any] = [
        ("edge-b", "SERVER", "command connect", [
            ("edge-b", "CLIENT", "hook connect", [
                ("edge-a", "SERVER", "api batch", [
                    ("edge-a", "CLIENT", "rpc", []),
                    ("edge-a", "PRODUCER", "publish", [
                        ("edge-a", "CONSUMER", "deliver", []),
                        ("edge-b", "CONSUMER", "deliver", []),
                    ]),
                ]),
            ]),
            ("sessions-", "CONSUMER", "project facts", []),
        ]),
    ]  # fmt: skip

    def whole() -> None:
        found = json.loads(json.dumps(receiver.tree(TRACE, ROOT)).replace(f"sessions-{sessions.port}", "sessions-"))
        assert found == json.loads(json.dumps(wanted))

    await eventually(whole)
    spans = receiver.of(TRACE)
    assert {span.service for span in spans} == {"fairlead-edge", "fairlead-sessions"}
    assert all(span.began <= span.ended and not span.error for span in spans)
    assert {span.state for span in spans if span.process != f"sessions-{sessions.port}"} == {"vendor=1"}
    by_name = {(span.process, span.name): span for span in spans}
    told = {name: by_name[name, "deliver"] for name in ("edge-a", "edge-b")}
    assert {name: span.attributes["fairlead.subscribers"] for name, span in told.items()} == {"edge-a": 1, "edge-b": 2}
    assert {name: len(span.events) for name, span in told.items()} == {"edge-a": 1, "edge-b": 2}
    destination = {"messaging.system": "nats", "messaging.destination.name": "chat:tea"}
    assert all(
        destination.items() <= span.attributes.items() for span in (*told.values(), by_name["edge-a", "publish"])
    )
    # Each backend can go on with the trace: it was given the span of its own question.
    assert app.parents["rpc.add"] == f"00-{TRACE}-{by_name['edge-a', 'rpc'].span}-01"
    assert app.parents["hook.connect"] == f"00-{TRACE}-{by_name['edge-b', 'hook connect'].span}-01"


async def test_a_client_s_publish_is_a_trace_of_its_own_with_its_hook_and_deliveries(
    services: Services, nats_server: NatsServer, receiver: Receiver
):
    edges = await start_pair(services, nats_server, **tracing(receiver, "1"))
    async with application(nats_server), connected(edges[0]) as alice, connected(edges[1], "bob") as bob:
        for client in (alice, bob):
            await client.subscribe("live:x")
        await alice.ask(rpc={"method": "add"})
        reply = await alice.ask(publish={"channel": "hooked:x", "data": 1})
        assert "error" not in reply
        await alice.ask_in_any_order(publish={"channel": "live:x", "data": 2})
        await receives(alice, "live:x", 2)
        await receives(bob, "live:x", 2)

    def traces(name: str) -> list[Any]:
        roots = [span for span in receiver.spans if span.name == name and not span.parent]
        return [receiver.tree(root.trace, root.span) for root in roots]

    deliveries: list[Any] = [("edge-a", "CONSUMER", "deliver", []), ("edge-b", "CONSUMER", "deliver", [])]
    hooked: list[Any] = [("edge-a", "CLIENT", "hook publish", []), ("edge-a", "PRODUCER", "publish", [])]

    def whole() -> None:
        assert traces("command publish") == [hooked, [("edge-a", "PRODUCER", "publish", deliveries)]]
        assert traces("command rpc") == [[("edge-a", "CLIENT", "rpc", [])]]

    await eventually(whole)


async def test_a_publish_straight_on_nats_is_traced_when_its_headers_ask_for_it(
    services: Services, nats_server: NatsServer, receiver: Receiver
):
    """Also where the edge itself begins no traces; and nothing else is traced there."""
    edges = await start_pair(services, nats_server, **tracing(receiver, "0"))
    async with application(nats_server) as app, connected(edges[0]) as alice, connected(edges[1], "bob") as bob:
        for client in (alice, bob):
            await client.subscribe("live:x")
            await client.subscribe("chat:x")
        for number, parent in enumerate((PARENT, "junk", f"00-{TRACE}-{ROOT}-00")):
            headers = {"traceparent": parent}
            await app.connection.publish(ephemeral("live:x"), str(number).encode(), headers=headers)
        await app.connection.publish(ephemeral("live:x"), b"3", headers={"Traceparent": PARENT})
        for client in (alice, bob):
            assert await client.publications("live:x", 4) == [0, 1, 2, 3]
        await call(edges[0], "publish", {"channel": "live:x", "data": 4})
        body = json.dumps({"channel": "chat:x", "data": 5}).encode()
        await app.connection.request("api.publish", body, headers={"traceparent": PARENT})
        for client in (alice, bob):
            received = [await client.push(channel) for channel in ("live:x", "chat:x")]
            assert [push["pub"]["data"] for push in received] == [4, 5]

    deliveries: list[Any] = [("edge-a", "CONSUMER", "deliver", []), ("edge-b", "CONSUMER", "deliver", [])]

    def whole() -> None:
        tree = receiver.tree(TRACE, ROOT)
        (api,) = [span for span in tree if span[2] == "api publish"]
        assert [span for span in tree if span is not api] == sorted(2 * deliveries)
        assert [(span[2], span[3]) for span in api[3]] == [("publish", deliveries)]

    await eventually(whole)
    assert {span.trace for span in receiver.spans} == {TRACE}


async def test_what_edges_are_asked_for_a_call_is_part_of_its_trace(
    services: Services, nats_server: NatsServer, receiver: Receiver
):
    edges = await start_pair(services, nats_server, **tracing(receiver, "0"))
    async with connected(edges[1], "bob"):
        await call(edges[0], "subscribe", {"user": "bob", "channel": "chat:x"}, traceparent=PARENT)
        await call(edges[0], "subscribe", {"user": "bob", "channel": "chat:y"})
    asked: list[Any] = [(edge, "SERVER", "control subscribe_user", []) for edge in ("edge-a", "edge-b")]

    def whole() -> None:
        assert receiver.tree(TRACE, ROOT) == [("edge-a", "SERVER", "api subscribe", asked)]

    await eventually(whole)
    assert {span.trace for span in receiver.spans} == {TRACE}
