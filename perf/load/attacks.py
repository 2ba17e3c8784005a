"""What one client can send to hold up an edge, as fast as the edge reads it. Each attack runs in a separate process.

An attack is an opening, which it sends on each of its sockets, and bytes that follow again and again. It reads and
ignores all answers. A socket that the edge closes is replaced at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from perf.load import child_process, frames
from perf.load.child_process import ChildDied, ChildGroup
from perf.load.dialects.centrifuge import PATH
from perf.load.worker_messages import Begin, Finish, Ready

FLOOD_BYTES: Final = 2 * 1024 * 1024
SOCKET_BYTES: Final = 64 * 1024
"""The size of the kernel's buffer for what the edge has not read, small so that what an attack has sent is soon
read."""

_COMPRESSED: Final = 0x40
_MESSAGE_BYTES: Final = 60_000
_HTTP_HEAD: Final = "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
_OFFER: Final = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """`opening` is an upgrade, or "" for HTTP. A connect command follows if the attacker has a token, then `first`, and
    then `flood` again and again."""

    name: str
    opening: str
    flood: bytes
    first: bytes = b""
    has_token: bool = False
    once: bool = False
    """The edge refuses the first one; the attacker then opens its next connection."""


def _repeated(part: bytes) -> bytes:
    return part * (FLOOD_BYTES // len(part))


def _field(number: int, inner: bytes) -> bytes:
    size, head = len(inner), bytearray()
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes((number << 3 | 2, *head, size)) + inner


def _commands() -> bytes:
    lines = (b'{"id":%d,"unsubscribe":{"channel":"log:x"}}' % number for number in range(2, 258))
    return frames.frame(frames.TEXT, b"\n".join(lines))


def _subscribes() -> bytes:
    lines = (b'{"id":%d,"subscribe":{"channel":"log:x","token":"no"}}' % number for number in range(2, 258))
    return frames.frame(frames.TEXT, b"\n".join(lines))


def _many_fields() -> bytes:
    """A Protobuf command of 64 KB: a connect with 32,000 empty entries."""
    connect = _field(4, b"\x1a\x00" * 32_000)
    return frames.frame(frames.BINARY, _field(0, connect)[1:])


def _many_nodes() -> bytes:
    """A command of 63 KB: a tags filter of 20,900 nodes, one of which has a field that is null."""
    nodes = b",".join([b'{"op":null}', *[b"{}"] * 20_900])
    return frames.frame(frames.TEXT, b'{"id":1,"subscribe":{"channel":"a","tf":{"nodes":[%b]}}}' % nodes)


def _compressed() -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = b'{"id":2,"unsubscribe":{"channel":"%b"}}' % (b"x" * _MESSAGE_BYTES)
    payload = squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH)[:-4]
    framed = bytearray(frames.frame(frames.TEXT, payload))
    framed[0] |= _COMPRESSED
    return bytes(framed)


def attacks(host: str, port: int) -> Iterator[Attack]:
    """All attacks, in the order of the table."""
    authority = f"{host}:{port}"
    upgrade = frames.upgrade_request(authority, PATH).decode()
    protobuf = frames.upgrade_request(authority, f"{PATH}?cf_protocol=protobuf").decode()
    squeezing = frames.upgrade_request(authority, PATH, _OFFER).decode()
    ping = _repeated(frames.frame(frames.PING, b""))
    empty = frames.frame(frames.CONTINUATION, b"")
    more = _repeated(bytes((empty[0] & 0x7F, *empty[1:])))
    first = frames.frame(frames.TEXT, b"")
    yield Attack("none", "", b"")
    yield Attack("pings without a token", upgrade, ping)
    yield Attack("pings", upgrade, ping, has_token=True)
    yield Attack("empty fragments", upgrade, more, first=bytes((first[0] & 0x7F, *first[1:])))
    yield Attack("256 commands a message", upgrade, _repeated(_commands()), has_token=True)
    yield Attack("256 refused subscribes a message", upgrade, _repeated(_subscribes()), has_token=True)
    yield Attack("64 KB of Protobuf fields before connect", protobuf, _many_fields(), once=True)
    yield Attack("63 KB of JSON objects before connect", upgrade, _many_nodes(), once=True)
    yield Attack("compressible messages", squeezing, _repeated(_compressed()), has_token=True)
    post = _HTTP_HEAD.format(path="/emulation", host=authority).encode()
    yield Attack("HTTP: one-byte chunks", "", _repeated(b"1\r\nx\r\n"), first=post)
    get = f"GET /connection/init HTTP/1.1\r\nHost: {authority}\r\n\r\n"
    yield Attack("HTTP: requests without waiting", "", _repeated(get.encode()))


@dataclass(frozen=True, slots=True)
class Attackers:
    """The task of a child process: `sockets` connections of one attack."""

    name: str
    host: str
    port: int
    sockets: int
    hello: bytes
    """A connect command with a token, as a frame."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Reported by a child at its end: how many bytes the edge read, and on how many connections."""

    sent_bytes: int
    connections: int


class _Attacker:
    def __init__(self, task: Attackers) -> None:
        self._task = task
        self._attack = next(one for one in attacks(task.host, task.port) if one.name == task.name)
        self.sent_bytes = self.connections = 0

    async def run(self) -> None:
        if not self._attack.flood:
            return
        while True:
            with contextlib.suppress(OSError):
                await self._one_connection()
            await asyncio.sleep(0)

    async def _one_connection(self) -> None:
        loop, attack = asyncio.get_running_loop(), self._attack
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            await loop.sock_connect(sock, (self._task.host, self._task.port))
            self.connections += 1
            if attack.opening:
                await self._send(sock, attack.opening.encode())
                await loop.sock_recv(sock, 65536)
            if attack.has_token:
                await self._send(sock, self._task.hello)
                await loop.sock_recv(sock, 65536)
            await self._send(sock, attack.first)
            if attack.once:
                await self._send(sock, attack.flood)
                await loop.sock_recv(sock, 65536)
                return
            reading = asyncio.create_task(self._read(sock))
            try:
                while not reading.done():
                    await self._send(sock, attack.flood)
            finally:
                reading.cancel()
                await asyncio.wait([reading])

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), SOCKET_BYTES):
            part = data[start : start + SOCKET_BYTES]
            await loop.sock_sendall(sock, part)
            self.sent_bytes += len(part)

    @staticmethod
    async def _read(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
                pass


def main(task: Attackers, pipe: Connection[object, object]) -> None:
    child_process.run(_work, task, pipe)


async def _work(task: Attackers, pipe: Connection[object, object]) -> None:
    attackers = [_Attacker(task) for _ in range(task.sockets)]
    child_process.send(pipe, Ready())
    begin = await child_process.receive(pipe)
    assert isinstance(begin, Begin)
    running = [asyncio.create_task(attacker.run()) for attacker in attackers]
    await child_process.receive(pipe)
    for each in running:
        each.cancel()
    await asyncio.wait(running)
    sent = sum(attacker.sent_bytes for attacker in attackers)
    child_process.send(pipe, Damage(sent, sum(attacker.connections for attacker in attackers)))


class AttackProcess(ChildGroup[Attackers]):
    """`async with AttackProcess(task) as attack:` prepares it; then `begin()`, `end(...)`."""

    def __init__(self, task: Attackers) -> None:
        super().__init__(main, [task], "perf-attack")
        self._damage: Damage | None = None

    def begin(self) -> None:
        self.send(Begin(time.monotonic()))

    async def end(self, within_s: float) -> Damage:
        """Stops it. Raises `ChildDied`."""
        self.send(Finish())
        await self.until(lambda: self._damage is not None, within_s)
        if self._damage is None:
            raise ChildDied(f"the attack had not ended after {within_s:.0f} s")
        return self._damage

    def received(self, number: int, message: object) -> None:
        if isinstance(message, Damage):
            self._damage = message

    def is_done(self, number: int) -> bool:
        return self._damage is not None
