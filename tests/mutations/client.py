"""A client of either encoding that keeps the bytes of what it receives, also where no other client could read them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from proto.codec_protobuf import PROTOBUF, decode_replies, encode_command
from proto.commands import Command, ConnectRequest, PublishRequest
from proto.replies import Reply
from tests.mutations.texts import parse

IN_A_FRAME: Final = 32
"""Commands that are sent at once."""


class Seen(NamedTuple):
    """A publication. `data`: its bytes in Protobuf; in JSON its value, written anew."""

    offset: int
    data: bytes


class Answer(NamedTuple):
    """The reply to a command: the code of its error, 0 without one; publications in it, and where they end."""

    error: int
    publications: list[Seen]
    offset: int = 0
    epoch: str = ""


def canonical(value: Any) -> bytes:
    """A JSON value in one spelling."""
    return json.dumps(value).encode()


class Client:
    """`closed` is the code with which the edge closed it, 0 before; `publications` are pushes, by channel."""

    def __init__(self, socket: ClientConnection, is_protobuf: bool) -> None:
        self._socket = socket
        self._is_protobuf = is_protobuf
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._last_id = 1_000_000  # the ids of mutated commands are small
        self._arrived = asyncio.Event()
        self.publications: dict[str, list[Seen]] = defaultdict(list)
        self.closed = 0
        self.unsubscribed = False

    async def read(self) -> None:
        """Takes what the edge sends, until it closes the connection."""
        try:
            async for message in self._socket:
                for event in _replies(message) if isinstance(message, bytes) else map(parse, message.split("\n")):
                    await self._take(event)
                self._arrived.set()
        except websockets.ConnectionClosed:
            pass
        self.closed = self._socket.close_code or 1006
        self._arrived.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(Answer(-self.closed, []))

    async def _take(self, reply: dict[str, Any]) -> None:
        if not reply:
            await self._socket.send(b"\x00" if self._is_protobuf else "{}")
        push = reply.get("push", {})
        if "pub" in push:
            self.publications[push["channel"]].append(_seen(push["pub"]))
        if "unsubscribe" in push:
            self.unsubscribed = True
        waiting = self._waiting.pop(int(reply.get("id", 0)), None)
        if waiting is not None and not waiting.done():
            result = reply.get("subscribe") or reply.get("history") or {}
            error = int(reply.get("error", {}).get("code", 0))
            found = [_seen(publication) for publication in result.get("publications", [])]
            waiting.set_result(Answer(error, found, int(result.get("offset", 0)), result.get("epoch", "")))

    async def until(self, channel: str, count: int, within_s: float) -> None:
        """Returns once so many publications of a channel are there, or the connection is closed."""
        async with asyncio.timeout(within_s):
            while len(self.publications[channel]) < count and not self.closed:
                self._arrived.clear()
                await self._arrived.wait()

    async def ask(self, **request: Any) -> Answer:
        """The reply to a command; its error is below 0 if the connection was closed instead."""
        self._last_id += 1
        command = Command(id=self._last_id, **request)
        line = encode_command(command) if self._is_protobuf else msgspec.json.encode(command)
        (answer,) = await self._answers([self._last_id], [line])
        return answer

    async def publish(self, channel: str, texts: Iterable[bytes]) -> list[int]:
        """Publishes the texts in their order; the code of each error, 0 without one."""
        numbers, lines = [], []
        for text in texts:
            self._last_id += 1
            numbers.append(self._last_id)
            if self._is_protobuf:
                lines.append(encode_command(Command(self._last_id, publish=PublishRequest(channel, msgspec.Raw(text)))))
            else:
                lines.append(
                    b'{"id":%d,"publish":{"channel":"%s","data":%s}}' % (self._last_id, channel.encode(), text)
                )
        codes: list[int] = []
        for start in range(0, len(lines), IN_A_FRAME):
            part = slice(start, start + IN_A_FRAME)
            codes += [answer.error for answer in await self._answers(numbers[part], lines[part])]
        return codes

    async def send(self, frame: bytes) -> None:
        """Sends bytes as they are, in a binary frame."""
        await self._socket.send(frame)

    async def _answers(self, numbers: list[int], lines: list[bytes]) -> list[Answer]:
        if self.closed:
            return [Answer(-self.closed, [])] * len(numbers)
        loop = asyncio.get_running_loop()
        waiting = [loop.create_future() for _ in numbers]
        self._waiting.update(zip(numbers, waiting, strict=True))
        try:
            await self._socket.send(PROTOBUF.join(lines) if self._is_protobuf else b"\n".join(lines))
        except websockets.ConnectionClosed:
            return [Answer(-(self._socket.close_code or 1006), [])] * len(numbers)
        return list(await asyncio.gather(*waiting))


def _replies(frame: bytes) -> list[dict[str, Any]]:
    """Protobuf replies as JSON has them, but for payloads, which are bytes."""
    return [_plain(reply) for reply in decode_replies(frame)]


def _plain(value: Reply) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=bytes)
    return plain


def _seen(publication: dict[str, Any]) -> Seen:
    data = publication["data"]
    return Seen(int(publication.get("offset", 0)), data if isinstance(data, bytes) else canonical(data))


@asynccontextmanager
async def client(url: str, token: str, is_protobuf: bool) -> AsyncIterator[Client]:
    """A client that has connected."""
    protocols = [websockets.Subprotocol("centrifuge-protobuf")] if is_protobuf else None
    async with websockets.connect(url, subprotocols=protocols, max_size=None, ping_interval=None) as socket:
        made = Client(socket, is_protobuf)
        reading = asyncio.create_task(made.read())
        try:
            answer = await made.ask(connect=ConnectRequest(token=token))
            assert not answer.error, f"connect was answered with {answer.error}"
            yield made
        finally:
            await socket.close()
            await reading
