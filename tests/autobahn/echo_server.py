"""An edge's WebSocket that says back what it hears: what the Autobahn test suite talks to.

The protocol class, the wire and the formats are the edge's own, on its own uvicorn; only what becomes of a message is
another. `python -m tests.autobahn.echo_server PORT`
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from services.chassis.http import server
from services.edge.connection.connection import Connection
from services.edge.framing import wire
from services.edge.transports.websocket import WebSocket
from tests.support.cluster import EdgeCluster, TestEdge

MESSAGE_SIZE_LIMIT = 16 * 1024 * 1024  # of the largest case


class Echo(WebSocket):
    """Everything but messages is the edge's: the handshake, fragments, control frames, goodbyes, compression."""

    def _is_too_much(self, connection: Connection) -> bool:
        return False  # its clients never connect, as those of an edge do

    def _frame_received(self, connection: Connection, opcode: int, payload: bytes) -> None:
        if opcode in (wire.TEXT, wire.BINARY) and not connection.closed:
            framed = bytearray(connection.session.state.format.frame([payload]))
            framed[0] ^= wire.TEXT ^ opcode  # a format has one opcode, and this one's is for text
            self._transport.write(bytes(framed))
        else:
            super()._frame_received(connection, opcode, payload)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    section: dict[str, Any] = {
        "message_size_limit": MESSAGE_SIZE_LIMIT,
        "compression": True,
        "compression_min_bytes": 0,
    }
    edge = TestEdge(EdgeCluster(), allowed_origins=["*"], **section)
    await edge.start()
    yield {"context": edge.context}


if __name__ == "__main__":
    server.run(Starlette(lifespan=_lifespan), host="127.0.0.1", ports={"port": int(sys.argv[1])}, ws=Echo)
