"""Edge processes for integration tests, the tokens to enter them, and a client that speaks the wire itself."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
import jwt
import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF, decode_replies, encode_command
from proto.commands import Command
from services.edge.client_settings import TRANSPORTS
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer

SECRET = "a-secret-of-the-tests-that-is-long-enough"
API_KEY = "an-api-key-of-the-tests"
ANSWER_S = 10.0

TOML_WITHOUT_HOOKS = """
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
[[channel.namespaces]]
name = "room"
history_size = 100
history_ttl = "1h"
force_recovery = true
presence = true
join_leave = true
force_push_join_leave = true
allow_presence_for_subscriber = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
[[channel.namespaces]]
name = "lobby"
presence = true
join_leave = true
allow_presence_for_client = true
allow_subscribe_for_client = true
allow_publish_for_client = true
[[channel.namespaces]]
name = "state"
history_size = 10
history_ttl = "1h"
force_recovery = true
force_recovery_mode = "cache"
auto_cache_recover = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
[[channel.namespaces]]
name = "diff"
history_size = 100
history_ttl = "1h"
force_recovery = true
allowed_delta_types = ["fossil"]
allow_tags_filter = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
[[channel.namespaces]]
name = "limited"
allow_user_limited_channels = true
allow_publish_for_subscriber = true
[[channel.namespaces]]
name = "optional"
history_size = 100
history_ttl = "1h"
allow_positioning = true
allow_recovery = true
allow_subscribe_for_client = true
allow_publish_for_client = true
"""

TOML = f"""{TOML_WITHOUT_HOOKS}
[[channel.namespaces]]
name = "hooked"
history_size = 100
history_ttl = "1h"
subscribe_hook = true
publish_hook = true
"""

FAST_GOODBYE = {"FAIRLEAD_EDGE_DRAIN_DELAY": "100ms"}


def token(user: str, secret: str = SECRET, **claims: Any) -> str:
    """A connection token; `exp` only when given."""
    return jwt.encode({"sub": user, **claims}, secret, algorithm="HS256")


class Reachable(Protocol):
    """NATS: a server or a cluster."""

    @property
    def url(self) -> str: ...


def start_edge(
    services: Services, nats: Reachable, name: str, toml: str = TOML, **variables: str | None
) -> ServiceProcess:
    """Starts an edge on `nats` with the namespaces of `toml`; `variables` are FAIRLEAD_* settings (None: unset)."""
    return services.start("edge", _settings(name, {"FAIRLEAD_NATS_URL": nats.url, **variables}), toml, name)


def start_edge_in_memory(
    services: Services, name: str = "alone", toml: str = TOML_WITHOUT_HOOKS, **variables: str | None
) -> ServiceProcess:
    """Starts an edge by itself, without NATS. Its namespaces are those of `TOML` that ask no backend."""
    return services.start("edge", _settings(name, {"FAIRLEAD_EDGE_BROKER": "memory", **variables}), toml, name)


def _settings(name: str, variables: dict[str, str | None]) -> dict[str, str]:
    settings = {
        "FAIRLEAD_EDGE_NAME": name,
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "FAIRLEAD_HTTP_API_KEY": API_KEY,
        "FAIRLEAD_CLIENT_TRANSPORTS": ",".join(TRANSPORTS),
        "FAIRLEAD_LOG_LEVEL": "debug",
        "FAIRLEAD_CHANNEL_HISTORY_MAX_BYTES": str(512 * 1024 * 1024),  # NATS sets them aside, on whatever disk there is
        **FAST_GOODBYE,
        **variables,
    }
    return {variable: value for variable, value in settings.items() if value is not None}


async def start_pair(services: Services, nats: NatsServer, **variables: str) -> tuple[ServiceProcess, ServiceProcess]:
    """Two edges of one cluster, ready."""
    a, b = (start_edge(services, nats, name, **variables) for name in ("edge-a", "edge-b"))
    return await a.ready(), await b.ready()


async def api(edge: ServiceProcess, method: str, body: object, key: str = API_KEY) -> httpx.Response:
    """One call of the server API."""
    async with http_client() as http:
        return await http.post(f"{edge.url}/api/{method}", json=body, headers={"X-API-Key": key}, timeout=10)


_decode_command = msgspec.json.Decoder(Command).decode


class Encoding:
    """The default encoding of `wire_client`; the fixture `encoding` changes it."""

    current = "json"


class WireClient:
    """One connection that sends exactly what a test sends: `send`, then `reply`, `push` or `closed`.

    Messages are given and returned as JSON has them, also where the connection speaks Protobuf.
    """

    def __init__(self, socket: ClientConnection, encoding: str = "json") -> None:
        self.socket = socket
        self.protobuf = encoding == "protobuf"
        self._messages: list[dict[str, Any]] = []
        self._next_id = 0

    async def send(self, *commands: dict[str, Any]) -> None:
        """Sends the commands in one frame."""
        lines = [json.dumps(command) for command in commands]
        if self.protobuf:
            await self.socket.send(PROTOBUF.join(encode_command(_decode_command(line)) for line in lines))
        else:
            await self.socket.send("\n".join(lines))

    def _decode(self, frame: str | bytes) -> list[dict[str, Any]]:
        if isinstance(frame, bytes):
            assert self.protobuf, "JSON comes in text frames"
            return [json.loads(JSON.encode_reply(reply)) for reply in decode_replies(frame)]
        assert not self.protobuf, "Protobuf comes in binary frames"
        return [json.loads(line) for line in frame.split("\n")]

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Sends one command and gives back its reply, without its id."""
        self._next_id += 1
        await self.send({"id": 1000 + self._next_id, **request})
        return await self.reply(1000 + self._next_id)

    async def message(self) -> dict[str, Any]:
        """The next message of any kind."""
        while not self._messages:
            frame = await asyncio.wait_for(self.socket.recv(), ANSWER_S)
            self._messages = self._decode(frame)
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

    async def ask_in_any_order(self, **request: Any) -> dict[str, Any]:
        """The same as `ask`, where a push may come before the reply: that one stays for later."""
        self._next_id += 1
        await self.send({"id": 1000 + self._next_id, **request})
        before: list[dict[str, Any]] = []
        while (message := await self._no_ping()).get("id") != 1000 + self._next_id:
            before.append(message)
        self._messages = before + self._messages
        return message

    async def closed_after_pings(self) -> tuple[int, str]:
        """Answers pings until the close frame, and gives back its code and reason. Nothing else may come."""
        try:
            while True:
                assert await self.message() == {}
                await self.send({})
        except websockets.ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")

    @property
    def unread(self) -> list[dict[str, Any]]:
        """The messages before the close frame that `closed` waited for."""
        return self._messages

    async def closed(self) -> tuple[int, str]:
        """Waits for the close frame and returns its code and reason; messages before it stay for `message`."""
        try:
            while True:
                frame = await asyncio.wait_for(self.socket.recv(), ANSWER_S)
                self._messages += self._decode(frame)
        except websockets.ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


@asynccontextmanager
async def wire_client(
    edge: ServiceProcess | str, encoding: str | None = None, **options: Any
) -> AsyncIterator[WireClient]:
    """A connection to an edge (or to a WebSocket address), not yet connected in the sense of the protocol."""
    url = edge if isinstance(edge, str) else edge.ws_url
    encoding = encoding or Encoding.current
    if encoding == "protobuf":
        options = {"subprotocols": ["centrifuge-protobuf"], **options}
    # No bound for unread messages: a client that stopped reading would not read the answer to its own close frame.
    options = {"max_queue": None, **options}
    async with websockets.connect(url, compression=None, open_timeout=ANSWER_S, **options) as socket:
        yield WireClient(socket, encoding)


@asynccontextmanager
async def connected(
    edge: ServiceProcess | str, user: str = "alice", encoding: str | None = None
) -> AsyncIterator[WireClient]:
    """A client that has connected."""
    async with wire_client(edge, encoding) as client:
        await client.connect(user)
        yield client


@asynccontextmanager
async def arrivals(edge: ServiceProcess, channel: str) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Waits until publications are at an edge: `async with arrivals(a, "chat:x") as arrive: await arrive(1, 2)`.

    A publish that is answered is stored. NATS may be about to hand it to other edges: their clients get it in time, but
    after whatever they did meanwhile.
    """
    async with connected(edge, "witness", "json") as witness:
        await witness.subscribe(channel)

        async def arrive(*data: Any) -> None:
            seen: list[Any] = []
            while len(seen) < len(data):
                push = await witness.push(channel)
                seen += [push["pub"]["data"]] if "pub" in push else []  # or a join
            assert seen == list(data)

        yield arrive


def in_seconds(seconds: float) -> int:
    """A Unix time for a token's claim: the first whole second at or after it."""
    return math.ceil(time.time() + seconds)
