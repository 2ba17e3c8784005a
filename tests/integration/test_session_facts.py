"""The session log of a real edge: every type of fact, with what is true of the client that it tells of."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest
import websockets

from proto import events
from services.chassis.process.heartbeat import VERSION
from tests.integration.test_drain import session_events
from tests.integration.test_slow_clients import stalled
from tests.support.edges import WireClient, api, connected, in_seconds, start_edge, token, wire_client
from tests.support.eventually import eventually
from tests.support.floods import ENOUGH, flood
from tests.support.metrics import reaches
from tests.support.processes import ServiceProcess
from tests.support.servers import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.once]

E = TypeVar("E", bound=events.Event)

SETTINGS = {
    "FAIRLEAD_CLIENT_SESSION_EVENT_DETAILS": "address,transport",
    "FAIRLEAD_CLIENT_SESSION_ADDRESSES": "hashed",
    "FAIRLEAD_CLIENT_SESSION_ADDRESS_KEY": "a key that only the edges of this test know",
}


@pytest.fixture
async def edge(services, nats_server) -> ServiceProcess:
    return await start_edge(services, nats_server, "edge-a", **SETTINGS).ready()


class Log:
    """What is in the session log."""

    def __init__(self, nats: NatsServer) -> None:
        self._nats = nats

    async def facts(self, kind: type[E], of: str = "", count: int = 1) -> list[E]:
        """Those of this type about the connection `of`, once there are so many."""

        async def found() -> list[E]:
            told: list[E] = [fact for fact in await session_events(self._nats.url) if isinstance(fact, kind)]
            mine = [fact for fact in told if not of or getattr(fact, "connection", "") == of]
            return mine if len(mine) >= count else []

        facts: list[E] = await eventually(found)
        return facts


@pytest.fixture
def log(nats_server: NatsServer) -> Log:
    return Log(nats_server)


async def test_a_client_comes_recovers_is_told_of_a_gap_and_leaves_its_channels(edge, log):
    published = [await api(edge, "publish", {"channel": "chat:x", "data": number}) for number in range(3)]
    since = published[0].json()["result"]["offset"]  # not reckoned from the last: an edge's marks take offsets too
    async with wire_client(edge, "protobuf") as client:
        me = (await client.connect("alice"))["client"]
        top = await client.subscribe("chat:x")
        await client.ask(unsubscribe={"channel": "chat:x"})
        await client.subscribe("chat:x", recover=True, epoch=top["epoch"], offset=since)
        await client.ask(unsubscribe={"channel": "chat:x"})
        await client.subscribe("chat:x", recover=True, epoch="another", offset=since)
        await api(edge, "unsubscribe", {"user": "alice", "channel": "chat:x"})
        await client.push("chat:x")
        opened, subscribed, unsubscribed = (
            await log.facts(events.Opened, me),
            await log.facts(events.Subscribed, me, 3),
            await log.facts(events.Unsubscribed, me, 3),
        )
    (came,) = opened
    assert (came.user, came.encoding, came.transport) == ("alice", "protobuf", "websocket")
    assert re.fullmatch("[0-9a-f]{32}", came.address), "127.0.0.1 by the key of the edges"
    assert [(fact.recovered, fact.recovered_from, fact.recovered_count) for fact in subscribed] == [
        (None, 0, 0),
        (True, since, 2),
        (False, since, 0),
    ]
    assert [(fact.code, fact.by) for fact in unsubscribed] == [(0, "client"), (0, "client"), (2000, "backend")]
    assert unsubscribed[2].reason


async def test_who_was_refused_what(edge, log):
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(edge.ws_url, origin=websockets.Origin("https://other.example"))
    async with wire_client(edge) as forger, connected(edge, "bob") as bob:
        await forger.send({"id": 1, "connect": {"token": "forged", "name": "js", "version": "5"}})
        assert (await forger.closed())[0] == 3500
        assert (await bob.ask(subscribe={"channel": "closed:x"}))["error"]["code"] == 103
        refused = await log.facts(events.Refused, count=3)
    assert [(fact.action, fact.code, fact.reason, fact.user, fact.channel) for fact in refused] == [
        ("handshake", 403, "origin", "", ""),
        ("connect", 3500, "invalid token", "", ""),
        ("subscribe", 103, "permission denied", "bob", "closed:x"),
    ]
    handshake, connect, subscribe = refused
    assert handshake.address == connect.address != "" and "127.0.0.1" not in repr(refused)
    assert (connect.client_name, connect.client_version) == ("js", "5") and subscribe.connection


async def test_a_flood_of_refusals_is_counted_and_told_before_the_edge_is_gone(edge, log):
    async with connected(edge, "bob") as bob:
        for _ in range(200):
            assert "error" in await bob.ask(subscribe={"channel": "closed:x"})
    assert await edge.stop() == 0
    refused = await log.facts(events.Refused)
    assert sum(fact.count for fact in refused) == 200
    assert len(refused) <= 22, "10 of 10 seconds, and one with the number of the others"


async def test_a_new_expiry(edge, log):
    first, then = in_seconds(60), in_seconds(3600)
    async with wire_client(edge) as client:
        me = (await client.connect("alice", exp=first))["client"]
        assert "refresh" in await client.ask(refresh={"token": token("alice", exp=then)})
        await api(edge, "refresh", {"user": "alice", "expire_at": then + 60})
        refreshed = await log.facts(events.Refreshed, me, 2)
    assert [fact.expires_at for fact in refreshed] == [then * 1000, (then + 60) * 1000]


async def test_a_client_lags_and_catches_up(edge, log):
    slow = await stalled(edge, "big:x")
    await flood(edge, "big:x")
    await eventually(lambda: reaches(edge, "lagged_total", 1))
    (lagged,) = await log.facts(events.Lagged)
    assert [data[0] for data in await slow.publications("big:x", ENOUGH)] == list(range(ENOUGH))
    (caught_up,) = await log.facts(events.CaughtUp)
    await slow.socket.close()
    (closed,) = await log.facts(events.Closed, lagged.connection)
    assert lagged.waiting > 1000 and caught_up.connection == lagged.connection
    assert 0 <= caught_up.lagged_ms <= caught_up.at - lagged.at + 1000
    last = (await api(edge, "history", {"channel": "big:x", "limit": 0})).json()["result"]["offset"]
    assert closed.messages_out >= ENOUGH and closed.offsets == {"big:x": last}


async def by_client(edge: ServiceProcess, client: WireClient) -> None:
    await client.socket.close(1000, "bye")


async def by_network(edge: ServiceProcess, client: WireClient) -> None:
    client.socket.transport.abort()


async def by_edge(edge: ServiceProcess, client: WireClient) -> None:
    await client.socket.send("no command")
    assert (await client.closed())[0] == 3501


async def by_backend(edge: ServiceProcess, client: WireClient) -> None:
    await api(edge, "disconnect", {"user": "alice"})
    assert (await client.closed())[0] == 3503


async def by_drain(edge: ServiceProcess, client: WireClient) -> None:
    assert await edge.stop() == 0


@pytest.mark.parametrize(
    ("end", "by", "code"),
    [
        (by_client, events.BY_CLIENT, 1000),
        (by_network, events.BY_NETWORK, 1006),
        (by_edge, events.BY_EDGE, 3501),
        (by_backend, events.BY_BACKEND, 3503),
        (by_drain, events.BY_DRAIN, 1001),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_who_ended_a_connection_and_what_it_had(edge, log, end: Callable[..., Any], by: str, code: int):
    began = time.time() * 1000
    async with wire_client(edge) as client:
        me = (await client.connect("alice"))["client"]
        await client.subscribe("chat:x")
        await client.subscribe("live:x")
        for number in range(4):
            await api(edge, "publish", {"channel": "chat:x", "data": number})
        offsets = [(await client.push("chat:x"))["pub"]["offset"] for _ in range(4)]
        await end(edge, client)
        (closed,) = await log.facts(events.Closed, me)
    assert (closed.by, closed.code) == (by, code)
    assert closed.messages_in >= 3 and closed.messages_out >= 7
    assert closed.bytes_in > 100 and closed.bytes_out > 200
    assert began - 1000 < closed.heard_at <= closed.at
    assert closed.offsets == {"chat:x": offsets[-1]}


async def test_an_edge_says_when_it_is_ready_and_how_it_goes(edge, log):
    async with AsyncExitStack() as stack:
        for number in range(5):
            await stack.enter_async_context(connected(edge, f"user-{number}"))
        assert await edge.stop() == 0
    facts = await log.facts(events.EdgeStopped)
    assert facts[0].left == 0
    (started,) = await log.facts(events.EdgeStarted)
    (draining,) = await log.facts(events.EdgeDraining)
    assert started.software == VERSION and draining.connections == 5
    everything = [type(fact) for fact in await log.facts(events.Event)]
    assert everything[0] is events.EdgeStarted and everything[-1] is events.EdgeStopped
    assert everything.count(events.Closed) == 5
