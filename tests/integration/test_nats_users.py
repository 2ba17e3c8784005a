"""The users of deploy/nats/nats.conf: each does all its work with what it may do, and is refused more than that.

The server is a native one, whatever TEST_BACKEND is.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.integration.nats_trespasses import MORE
from tests.support.edges import API_KEY, connected, start_edge
from tests.support.eventually import eventually
from tests.support.metrics import series
from tests.support.nats_users import USERS, NatsUser, restricted_nats, signed_in, variables_of
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import Postgres
from tests.support.servers_native import NativeNats

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NativeNats]:
    server = restricted_nats(tmp_path / "nats")
    yield server
    server.close()


@pytest.mark.parametrize("user", MORE)
async def test_more_than_its_work_is_refused(user: str, server: NativeNats) -> None:
    async with signed_in(server, "operator") as operator:
        stream = operator.connection.jetstream()
        await stream.add_stream(name="CH_chat_0", subjects=["ch.chat.0.>"])
        await stream.publish("ch.chat.0.x", b"kept")
        async with signed_in(server, user) as other:
            allowed = [attempt for attempt in MORE[user] if not await other.is_refused(*attempt)]
        assert allowed == []
        info = await stream.stream_info("CH_chat_0")
        assert (info.state.messages, info.state.last_seq) == (1, 1)
        assert operator.refused == []


ELSEWHERE = (
    "ch.chat.0.forged",
    "live.chat.0.forged",
    "eph.forged",
    "ev.session.forged",
    "mark.forged",
    "tel.edge.forged",
    "ctl.edge.forged",
    "hook.connect",
    "rpc.forged",
    "send.forged",
    "_INBOX_fairlead_sessions.forged",
    "$JS.API.STREAM.PURGE.SESSIONS",
    "$SYS.REQ.forged",
)
"""Where a backend may not publish, and edges or the metrics service may, if only in an answer."""


async def test_no_service_answers_where_the_backend_that_asks_may_not_publish(
    server: NativeNats, services: Services
) -> None:
    edge = start_edge(services, server, "edge-a", **variables_of("edge"))
    metrics = services.start("metrics", {"FAIRLEAD_NATS_URL": server.url, **variables_of("metrics")})
    await asyncio.gather(edge.ready(), metrics.ready())
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        if b'"result"' in message.data or b'"error"' in message.data or b'"edges"' in message.data:
            heard.append(message.subject)

    async with signed_in(server, "operator") as operator, signed_in(server, "backend") as backend:
        for subject in ELSEWHERE:
            await operator.connection.subscribe(subject, cb=hear)
        await operator.connection.flush()
        for method in ("api.info", "plan.capacity"):
            for subject in ELSEWHERE:
                await backend.connection.publish(method, b"{}", reply=subject)
            await backend.connection.request(method, b"{}", timeout=10)
        await operator.connection.flush()
        assert heard == []
    why = "bad request: expected an inbox as the reply subject, got 'ch.chat.0.forged'"
    assert f"a call of the server API failed: {why}" in edge.log()
    for process in (edge, metrics):
        assert await violations(process) == 0


async def test_nobody_signs_in_without_a_password(server: NativeNats) -> None:
    for user in (None, *USERS):
        client = Client()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await client.connect(server.url, user=user, password="another", allow_reconnect=False)
        await client.close()  # which a failed connect leaves to its caller


@pytest.mark.parametrize(("service", "user"), [("edge", "metrics"), ("sessions", "metrics"), ("metrics", "sessions")])
async def test_a_service_that_may_not_do_its_work_is_not_ready_until_it_may(
    service: str, user: str, server: NativeNats, services: Services, postgres: Postgres
) -> None:
    database = {"FAIRLEAD_POSTGRES_URL": postgres.url, "FAIRLEAD_HTTP_API_KEY": API_KEY}
    if service == "edge":
        process = start_edge(services, server, "edge-a", **variables_of(user))
    else:
        own = database if service == "sessions" else {}
        process = services.start(service, {"FAIRLEAD_NATS_URL": server.url, **own, **variables_of(user)})
    why = await eventually(lambda: unready(process, "not ready: NATS does not permit "))
    subject = re.sub(r" \(and \d+ more\)", "", why.strip()).rpartition(" ")[2]
    said = re.compile(
        rf"WARNING .*NATS does not permit .*\b{re.escape(subject)}\b.*: "
        rf"allow it to user {user} \(nats.user\) in the configuration of NATS"
    )
    await eventually(lambda: said.search(process.log()))
    server.stop()
    server.configure("")  # everybody may do everything
    server.start()
    await process.ready()


async def test_an_edge_without_the_permission_for_jetstream_says_so_in_one_line(
    server: NativeNats, services: Services
) -> None:
    server.stop()
    everything_else = 'publish: {allow: ">", deny: "$JS.API.>"}'
    server.configure(f"authorization {{ users = [{{user: edge, password: x, permissions: {{{everything_else}}}}}] }}")
    server.start()
    edge = start_edge(services, server, "edge-a", FAIRLEAD_NATS_USER="edge", FAIRLEAD_NATS_PASSWORD="x")
    await eventually(lambda: unready(edge, "NATS does not permit publishing to $JS.API."))

    async def has_asked_again() -> bool:
        return await violations(edge) > 40

    await eventually(has_asked_again, within_s=30)
    told = [line for line in edge.log().splitlines() if "WARNING" in line]
    assert len(told) <= 5, told
    assert "$JS.API.STREAM.INFO.CH_chat_0, $JS.API.STREAM.INFO." in edge.log()


async def test_a_service_with_a_wrong_password_says_so_and_stops_in_order(
    server: NativeNats, services: Services
) -> None:
    wrong = {"FAIRLEAD_NATS_USER": "metrics", "FAIRLEAD_NATS_PASSWORD": "a-wrong-password"}
    process = services.start("metrics", {"FAIRLEAD_NATS_URL": server.url, **wrong})
    refused = "NATS refuses the credentials of user metrics (nats.user): Authorization Violation"
    assert await eventually(lambda: unready(process, refused)) == f"not ready: {refused}\n"
    assert f"{refused}; asking again until it accepts them" in process.log()
    assert await process.stop() == 0
    assert "a-wrong-password" not in process.log()


async def violations(process: ServiceProcess) -> float:
    """How often NATS did not permit it something."""
    return await series(process, "fairlead_process_nats_permission_violations_total")


async def unready(process: ServiceProcess, why: str) -> str:
    """What `/readyz` says, if it has that in it."""
    async with http_client() as http:
        answer = await http.get(f"{process.url}/readyz")
        return answer.text if answer.status_code == 503 and why in answer.text else ""


class Backend:
    """Signed in as `backend`: it answers hooks and RPCs, hears what clients send, and calls the server API."""

    def __init__(self, user: NatsUser) -> None:
        self._user = user
        self.heard: list[str] = []

    async def listen(self) -> None:
        for subject in ("hook.>", "rpc.>", "send.>"):
            await self._user.connection.subscribe(subject, queue="backend", cb=self._answer)
        await self._user.connection.flush()

    async def _answer(self, message: Msg) -> None:
        self.heard.append(message.subject)
        if message.reply:
            await message.respond(message.data if message.subject.startswith("rpc.") else b'{"result": {}}')

    async def call(self, method: str, **call: Any) -> Any:
        return await self.ask(f"api.{method}", call)

    async def ask(self, subject: str, body: Any) -> Any:
        return json.loads((await self._user.connection.request(subject, json.dumps(body).encode(), timeout=10)).data)


class Cluster(NamedTuple):
    """Every service, each as the user that ships for it."""

    edges: tuple[ServiceProcess, ServiceProcess]
    sessions: ServiceProcess
    metrics: ServiceProcess
    backend: Backend

    @property
    def processes(self) -> tuple[ServiceProcess, ...]:
        return (*self.edges, self.sessions, self.metrics)


@pytest.fixture
async def cluster(server: NativeNats, services: Services, postgres: Postgres) -> AsyncIterator[Cluster]:
    asking = {"FAIRLEAD_CLIENT_ALLOW_SEND": "true"}
    a, b = (start_edge(services, server, name, **variables_of("edge"), **asking) for name in ("edge-a", "edge-b"))
    nats_url = {"FAIRLEAD_NATS_URL": server.url}
    database = {"FAIRLEAD_POSTGRES_URL": postgres.url, "FAIRLEAD_HTTP_API_KEY": API_KEY}
    sessions = services.start("sessions", nats_url | database | variables_of("sessions"))
    metrics = services.start("metrics", nats_url | variables_of("metrics"))
    await asyncio.gather(*(process.ready() for process in (a, b, sessions, metrics)))
    async with signed_in(server, "backend") as user:
        backend = Backend(user)
        await backend.listen()
        yield Cluster((a, b), sessions, metrics, backend)
        assert user.refused == []


async def test_every_user_does_its_work(cluster: Cluster, server: NativeNats) -> None:
    a, b = cluster.edges
    backend = cluster.backend
    async with connected(a, "alice") as alice, connected(b, "bob") as bob:
        for client in (alice, bob):
            for channel in ("chat:x", "live:x", "room:x", "hooked:x"):
                assert "subscribe" in await client.ask_in_any_order(subscribe={"channel": channel})
        first, again = [await backend.call("publish", channel="chat:x", data=1, idempotency_key="k") for _ in range(2)]
        assert first == again and first["result"]["offset"] > 0
        await backend.call("publish", channel="live:x", data=2, idempotency_key="k")
        await backend.call("broadcast", channels=["room:x"], data=3)
        for client in (alice, bob):
            for channel in ("chat:x", "live:x", "room:x"):
                assert "data" in (await published(client, channel))
        assert len((await backend.call("presence", channel="room:x"))["result"]["presence"]) == 2
        assert (await alice.ask_in_any_order(rpc={"method": "orders.get", "data": {"n": 1}}))["rpc"]["data"] == {"n": 1}
        await alice.send({"send": {"data": "hello"}})
        await eventually(lambda: "send.alice" in backend.heard)
        assert {"hook.subscribe", "rpc.orders.get"} <= set(backend.heard)
        await backend.call("history_remove", channel="chat:x")
        assert (await backend.call("history", channel="chat:x", limit=10))["result"]["publications"] == []
        await backend.call("disconnect", user="bob")
        assert (await bob.closed())[0] >= 3000
        assert await eventually(lambda: session_users(cluster.sessions)) >= {"alice", "bob"}
    everybody = {"edge", "sessions", "metrics"}

    async def all_are_heard() -> bool:
        return await services_heard(cluster.metrics) == everybody

    await eventually(all_are_heard)
    assert "edges" in await backend.ask("plan.capacity", {})
    assert "sessions" in await backend.ask("rd.sessions", {"limit": 1})
    await is_done_again_after_a_restart(cluster, server)
    for process in cluster.processes:
        assert await violations(process) == 0, process.name
        assert "does not permit" not in process.log()


async def is_done_again_after_a_restart(cluster: Cluster, server: NativeNats) -> None:
    """Streams are made anew, indexes with them, and clients recover."""
    a, b = cluster.edges
    async with connected(a, "carol") as carol:
        before = await carol.subscribe("diff:y")
    server.stop()
    server.start()
    await asyncio.gather(*(process.ready() for process in cluster.processes))
    answer = await eventually(lambda: cluster.backend.call("publish", channel="diff:y", data="later"))
    assert answer["result"]["offset"] > before["offset"]
    async with connected(b, "carol") as carol:
        position = {"offset": before["offset"], "epoch": before["epoch"]}
        recovered = await carol.subscribe("diff:y", recover=True, **position)
        assert recovered["recovered"] and [each["data"] for each in recovered["publications"]] == ["later"]


async def published(client: Any, channel: str) -> dict[str, Any]:
    """The next publication in a channel, where members may join meanwhile, and others be published."""
    while True:
        message = await client.message()
        push = message.get("push", {})
        if push.get("channel") == channel and "pub" in push:
            found: dict[str, Any] = push["pub"]
            return found


async def services_heard(metrics: ServiceProcess) -> set[str]:
    """The services whose heartbeats the metrics service has heard."""
    async with http_client() as http:
        return {each["service"] for each in (await http.get(f"{metrics.url}/cluster")).json()["processes"]}


async def session_users(sessions: ServiceProcess) -> set[str]:
    async with http_client() as http:
        answer = await http.get(f"{sessions.url}/sessions", headers={"X-API-Key": API_KEY})
        return {each["user"] for each in answer.json()["sessions"]}
