"""SIGTERM: unready, 1001 for every client, session events stored, exit 0."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AsyncExitStack

import pytest
import websockets

from proto import events, subjects
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_reads import read_stream
from tests.support.edges import connected, start_edge, wire_client
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess

pytestmark = pytest.mark.integration


async def session_events(nats_url: str) -> list[events.SessionEvent]:
    """Everything that is in the session log."""
    link = NatsLink(NatsSettings(url=nats_url), "test")
    await link.open()
    try:
        found: list[events.SessionEvent] = []
        position = 1
        while True:
            messages, more = await read_stream(link, subjects.SESSIONS_STREAM, position, 100)
            for message in messages:
                found += events.decode_batch(message.data).events
                position = message.sequence + 1
            if not more:
                return found
    finally:
        await link.close()


async def _commands_in(edge: ServiceProcess, count: int) -> bool:
    """Whether the edge has received that many commands."""
    async with http_client() as http:
        return f"fairlead_edge_messages_in_total {count}.0" in (await http.get(f"{edge.url}/metrics")).text


async def test_everybody_gets_1001_and_every_session_event_is_stored(edge, nats_server):
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(edge, f"user-{i}")) for i in range(60)]
        for client in clients:
            await client.subscribe("chat:x")
        stopping = asyncio.create_task(edge.stop())
        assert [await client.closed() for client in clients] == [(1001, "shutdown")] * 60
        assert await stopping == 0
    facts = await session_events(nats_server.url)
    opened = [fact for fact in facts if isinstance(fact, events.Opened)]
    subscribed = [fact for fact in facts if isinstance(fact, events.Subscribed)]
    assert {fact.user for fact in opened} == {f"user-{i}" for i in range(60)}
    assert len(subscribed) == 60
    assert [fact.code for fact in facts if isinstance(fact, events.Closed)] == [1001] * 60
    assert "drained in" in edge.log() and "every session event is stored" in edge.log()


async def test_while_draining_the_edge_is_unready_then_takes_no_new_clients_and_shows_progress(services, nats_server):
    slow = {"FAIRLEAD_EDGE_DRAIN_DELAY": "0s", "FAIRLEAD_EDGE_DRAIN_RATE": "4", "FAIRLEAD_EDGE_DRAIN_TIMEOUT": "9s"}
    edge = await start_edge(services, nats_server, "edge-a", **slow).ready()
    async with AsyncExitStack() as stack, http_client() as http:
        clients = [await stack.enter_async_context(connected(edge)) for _ in range(12)]
        stopping = asyncio.create_task(edge.stop())
        await eventually(lambda: "draining: unready, closing 12 connections" in edge.log())
        answer = await http.get(f"{edge.url}/readyz")
        assert (answer.status_code, answer.text) == (503, "not ready: draining\n")
        assert (await http.get(f"{edge.url}/livez")).status_code == 200
        metrics = (await http.get(f"{edge.url}/metrics")).text
        assert "fairlead_edge_draining 1.0" in metrics and "fairlead_edge_drain_left 0.0" not in metrics
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with wire_client(edge):
                pass
        assert refused.value.response.status_code == 503
        assert [await client.closed() for client in clients] == [(1001, "shutdown")] * 12
        assert await stopping == 0


async def test_a_publish_under_way_is_answered_before_the_goodbye(edge, nats_server):
    async with connected(edge) as client, connected(edge, "idle") as idle:
        await client.subscribe("chat:x")
        nats_server.pause()
        await client.send({"id": 5, "publish": {"channel": "chat:x", "data": "last words"}})
        await eventually(functools.partial(_commands_in, edge, 4))
        stopping = asyncio.create_task(edge.stop())
        assert (await idle.closed())[0] == 1001, "whoever waits for nothing goes"
        nats_server.resume()
        assert (await client.closed())[0] == 1001
        assert {"id": 5, "publish": {}} in client.unread, "its own publication may come as well"
        assert await stopping == 0


async def test_the_end_waits_until_nats_has_the_session_events(edge, nats_server):
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(edge, f"user-{i}")) for i in range(20)]
        nats_server.kill9()
        stopping = asyncio.create_task(edge.stop())
        assert [await client.closed() for client in clients] == [(1001, "shutdown")] * 20
        await eventually(lambda: "waiting for NATS to store" in edge.log())
        nats_server.start()
        assert await stopping == 0
    facts = await session_events(nats_server.url)
    assert [fact.code for fact in facts if isinstance(fact, events.Closed)] == [1001] * 20


async def test_clients_that_do_not_answer_do_not_hold_up_the_end(edge):
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    assert await edge.stop(within_s=10) == 0
    writer.close()


async def test_a_second_sigterm_changes_nothing(edge):
    async with connected(edge) as client:
        stopping = asyncio.create_task(edge.stop())
        await eventually(lambda: "draining" in edge.log())
        second = asyncio.create_task(edge.stop())
        assert (await client.closed())[0] == 1001
        assert await stopping == await second == 0
