"""Costly messages of middle size: while others have taken much of a turn of the event loop, they wait for the next."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.edge.connection.connection import Connection
from services.edge.framing.wire import TEXT
from services.edge.transports.websocket import OPENINGS_PER_TURN, SMALL_BYTES
from services.edge.turn_queue import TurnQueue
from tests.edge.transports.test_websocket_turns import turns_until_read, unsubscribe
from tests.edge.transports.upgraded import HELLO, Socket, masked
from tests.support.cluster import EdgeCluster, TestEdge, settled


async def test_messages_of_middle_size_take_turns_when_they_take_time(monkeypatch):
    """Those of strangers, and of clients that are connected."""
    edge = await TestEdge(EdgeCluster(), transports=["websocket"], insecure=True).start()
    now = [0.0]
    edge.context = replace(edge.context, openings=TurnQueue(OPENINGS_PER_TURN, lambda: now[0]))
    monkeypatch.setattr(edge.context.turns, "now", lambda: now[0])
    take, handled = Connection.message_received, [0]

    def slowly(connection: Connection, message: bytes) -> None:
        handled[0] += 1
        take(connection, message)
        now[0] += 0.02

    members = [await Socket(edge).connected() for _ in range(5)]
    strangers = [Socket(edge) for _ in range(5)]
    monkeypatch.setattr(Connection, "message_received", slowly)
    await settled()
    for socket, command in [*((one, unsubscribe(2)) for one in members), *((one, HELLO) for one in strangers)]:
        socket.protocol.data_received(masked(TEXT, command + b" " * SMALL_BYTES))
    assert handled[0] == 1
    while handled[0] < 10:
        before = handled[0]
        await asyncio.sleep(0)
        assert handled[0] - before <= 1
    for socket in (*members, *strangers):
        await turns_until_read(socket)
        assert socket.messages
