"""What clients and backends do on a stage: a little all the time, and much where a cause is that there is much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from urllib.parse import quote

import httpx
import jwt
import nats

from proto import subjects
from tests.alerts.stage import Stage
from tests.alerts.surroundings import METHOD
from tests.stack.fairlead import Fairlead


async def babble(stage: Stage) -> None:
    """Clients that stay and publish, clients that come and go, backends that publish and ask another one: until
    cancelled. What fails is tried again.
    """
    await asyncio.gather(_stay(stage.fairlead), _stay(stage.fairlead), _come_and_go(stage.fairlead))


async def _stay(fairlead: Fairlead) -> None:
    async with fairlead.client("alice") as alice:
        await alice.join("chat:lobby")
        while True:
            with contextlib.suppress(Exception):
                await alice.publish("hello")
            await asyncio.sleep(0.2)


async def _come_and_go(fairlead: Fairlead) -> None:
    url = f"http://127.0.0.1:{fairlead.port}/api"
    async with httpx.AsyncClient(trust_env=False, timeout=10, headers={"X-API-Key": fairlead.api_key}) as http:
        while True:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(10), fairlead.client("bob") as bob:
                    await bob.join("chat:lobby")
                    await http.post(f"{url}/publish", json={"channel": "chat:lobby", "data": "hello"})
                    await http.post(f"{url}/rpc", json={"method": METHOD, "data": {}})
            await asyncio.sleep(0.5)


class Crowd:
    """Clients of one edge that only receive, on bare sockets (uni_sse)."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._readers: list[asyncio.Task[None]] = []

    async def come(
        self, stage: Stage, edge: int, count: int, channels: tuple[str, ...] = (), reads: bool = True
    ) -> None:
        """`count` more, straight at the edge with this number. If `reads` is false they take nothing."""
        for number in range(count):
            claims = {"sub": f"crowd-{number}", "exp": int(time.time()) + 7200}
            token = jwt.encode(claims, stage.fairlead.token_key, algorithm="HS256")
            connect = quote(json.dumps({"token": token, "subs": {name: {} for name in channels}}))
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.edge_port(edge), limit=4096)
            writer.write(f"GET /connection/uni_sse?cf_connect={connect} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode())
            status = await reader.readline()
            assert b" 200 " in status, status
            while not (await reader.readline()).startswith(b"data:"):
                pass  # until it is subscribed
            self._writers.append(writer)
            if reads:
                self._readers.append(asyncio.create_task(_take_all(reader)))

    def leave(self) -> None:
        """All of them, at once."""
        for writer in self._writers:
            writer.transport.abort()
        for task in self._readers:
            task.cancel()
        self._writers.clear()
        self._readers.clear()


async def _take_all(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass


async def flood(stage: Stage, channel: str, size: int, rate: float) -> None:
    """Publishes `size` bytes so many times a second, straight on NATS, into a channel without history: until
    cancelled."""
    client = await nats.connect(stage.nats_url)
    try:
        while True:
            await client.publish(subjects.ephemeral(channel), json.dumps("x" * size).encode())
            await asyncio.sleep(1 / rate)
    finally:
        await client.close()


async def call_much(stage: Stage, edge: int, callers: int) -> None:
    """So many backends, each of which publishes as soon as its last call is answered, straight at an edge: until
    cancelled."""
    body = json.dumps({"channel": "chat:busy", "data": "hello"}).encode()
    head = f"POST /api/publish HTTP/1.1\r\nHost: edge\r\nX-API-Key: {stage.fairlead.api_key}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    await asyncio.gather(*(_call(stage.edge_port(edge), request) for _ in range(callers)))


async def _call(port: int, request: bytes) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                    answer = await reader.readexactly(int(length))
                    await asyncio.sleep(1 if b'"error"' in answer else 0)
            finally:
                writer.transport.abort()
        await asyncio.sleep(1)
