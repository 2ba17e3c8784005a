"""Edge processes for integration tests, the tokens to enter them, and a client that speaks the wire itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer

SECRET = "a-secret-of-the-tests-that-is-long-enough"
API_KEY = "an-api-key-of-the-tests"
ANSWER_S = 10.0

TOML = """
[channel]
history_partitions = 2
[[channel.namespaces]]
name = "chat"
history_size = 200
history_ttl = "1h"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
allow_history_for_subscriber = true
[[channel.namespaces]]
name = "big"
history_size = 5000
history_ttl = "1h"
force_recovery = true
allow_subscribe_for_client = true
[[channel.namespaces]]
name = "live"
allow_subscribe_for_client = true
allow_publish_for_client = true
[[channel.namespaces]]
name = "lossy"
slow_client = "drop"
allow_subscribe_for_client = true
[[channel.namespaces]]
name = "closed"
"""

FAST_GOODBYE = {"FAIRLEAD_EDGE_DRAIN_DELAY": "100ms"}


def token(user: str, secret: str = SECRET, **claims: Any) -> str:
    """A connection token; `exp` only when given."""
    return jwt.encode({"sub": user, **claims}, secret, algorithm="HS256")


def start_edge(services: Services, nats: NatsServer, name: str, **variables: str) -> ServiceProcess:
    """Starts an edge on `nats` with the namespaces of `TOML`; `variables` are further FAIRLEAD_* settings."""
    settings = {
        "FAIRLEAD_NATS_URL": nats.url,
        "FAIRLEAD_EDGE_NAME": name,
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "FAIRLEAD_HTTP_API_KEY": API_KEY,
        "FAIRLEAD_LOG_LEVEL": "debug",
        **FAST_GOODBYE,
        **variables,
    }
    return services.start("edge", settings, TOML, name)


async def start_pair(services: Services, nats: NatsServer, **variables: str) -> tuple[ServiceProcess, ServiceProcess]:
    """Two edges of one cluster, ready."""
    a, b = (start_edge(services, nats, name, **variables) for name in ("edge-a", "edge-b"))
    return await a.ready(), await b.ready()


async def api(edge: ServiceProcess, method: str, body: object, key: str = API_KEY) -> httpx.Response:
    """One call of the server API."""
    async with httpx.AsyncClient(verify=False) as http:  # no TLS here, and loading its certificates takes its time
        return await http.post(f"{edge.url}/api/{method}", json=body, headers={"X-API-Key": key}, timeout=10)


class WireClient:
    """One connection that says exactly what a test says: `send`, then `reply`, `push` or `closed`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._messages: list[dict[str, Any]] = []
        self._next_id = 0

    async def send(self, *commands: dict[str, Any]) -> None:
        """Sends the commands in one frame."""
        await self.socket.send("\n".join(json.dumps(command) for command in commands))

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Sends one command and gives back its reply, without its id."""
        self._next_id += 1
        await self.send({"id": 1000 + self._next_id, **request})
        return await self.reply(1000 + self._next_id)

    async def message(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        while not self._messages:
            frame = await asyncio.wait_for(self.socket.recv(), ANSWER_S)
            assert isinstance(frame, str), "JSON comes in text frames"
            self._messages = [json.loads(line) for line in frame.split("\n")]
        return self._messages.pop(0)

    async def _no_ping(self) -> dict[str, Any]:
        while not (message := await self.message()):
            await self.send({})
        return message

    async def reply(self, number: int) -> dict[str, Any]:
        """The next message but for pings, which must be the reply to command `number`."""
        message = await self._no_ping()
        assert message.pop("id", None) == number, message
        return message

    async def push(self, channel: str) -> dict[str, Any]:
        """The next message but for pings, which must be a push of `channel`."""
        message = await self._no_ping()
        assert message.get("push", {}).get("channel") == channel, message
        push: dict[str, Any] = message["push"]
        return push

    async def publications(self, channel: str, count: int) -> list[Any]:
        """The data of the next `count` messages, all publications of `channel`."""
        return [(await self.push(channel))["pub"]["data"] for _ in range(count)]

    async def connect(self, user: str = "alice", **claims: Any) -> dict[str, Any]:
        result: dict[str, Any] = (await self.ask(connect={"token": token(user, **claims)}))["connect"]
        return result

    async def subscribe(self, channel: str, **request: Any) -> dict[str, Any]:
        result: dict[str, Any] = (await self.ask(subscribe={"channel": channel, **request}))["subscribe"]
        if result.get("positioned"):
            result.setdefault("offset", 0)  # zero is not sent
        return result

    async def closed(self) -> tuple[int, str]:
        """Waits for the close frame and gives back its code and reason; what comes before it stays for `message`."""
        try:
            while True:
                frame = await asyncio.wait_for(self.socket.recv(), ANSWER_S)
                assert isinstance(frame, str)
                self._messages += [json.loads(line) for line in frame.split("\n")]
        except websockets.ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


@asynccontextmanager
async def wire_client(edge: ServiceProcess | str, **options: Any) -> AsyncIterator[WireClient]:
    """A connection to an edge (or to a WebSocket address), not yet connected in the sense of the protocol."""
    url = edge if isinstance(edge, str) else edge.ws_url
    async with websockets.connect(url, compression=None, open_timeout=ANSWER_S, **options) as socket:
        yield WireClient(socket)


@asynccontextmanager
async def connected(edge: ServiceProcess | str, user: str = "alice") -> AsyncIterator[WireClient]:
    """A client that has connected."""
    async with wire_client(edge) as client:
        await client.connect(user)
        yield client


def in_seconds(seconds: float) -> int:
    """A Unix time for a token's claim."""
    return int(time.time() + seconds)
