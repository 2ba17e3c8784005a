"""What stands around a stage that causes need: a place of keys for tokens, a receiver of webhooks, further NATS
servers, a small disk."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.processes import nats as nats_server
from deploy.processes.ports import HOST, free_port
from deploy.processes.process import Process, Program

METHOD = "echo"
"""The RPC that clients of a stage ask for, and `EchoBackend` answers."""

DISK_BYTES = 640 * 1024 * 1024


class KeyEndpoint:
    """Serves a JWKS document without keys over HTTP; status 500 while `broken`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.broken = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, HOST, self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, body = ("500 Broken", b"") if self.broken else ("200 OK", b'{"keys": []}')
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


class WebhookReceiver:
    """Answers each request of a webhook with `status`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = "204 No Content"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, HOST, self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()


class NatsPeers:
    """Two further NATS servers, 2 and 3, which make a cluster with that of the stack, which is 1."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._routes = [free_port() for _ in range(3)]
        self._processes: dict[int, Process] = {}

    def cluster(self, number: int) -> str:
        """The part of a server's configuration that makes it a member of the cluster."""
        others = ", ".join(f'"nats://{HOST}:{port}"' for port in self._routes)
        listen = f"{HOST}:{self._routes[number - 1]}"
        return f'\ncluster {{ name: "fairlead", listen: "{listen}", routes: [{others}] }}\n'

    def start(self, number: int) -> None:
        """Starts it, again with what it had stored if it was killed; does nothing if it runs."""
        if number not in self._processes:
            config = self._folder / f"nats-{number}.conf"
            store = self._folder / f"store-{number}"
            text = f'server_name: "peer-{number}"\nlisten: "{HOST}:{free_port()}"\n'
            text += f'jetstream {{ store_dir: "{store}", max_file_store: 8GB }}\n'
            config.write_text(text + self.cluster(number))
            program = Program(f"nats-{number}", [str(nats_server.program()), "-c", str(config)])
            self._processes[number] = Process(program, self._folder / f"nats-{number}.log")
        if not self._processes[number].is_running:
            self._processes[number].start()

    def kill(self, number: int) -> None:
        self._processes[number].kill()

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()


class SmallDisk:
    """A file system of `DISK_BYTES` in memory. Only root may mount it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "of-somebody-else"

    def mount(self) -> None:
        """Raises CalledProcessError."""
        self._folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(self._folder)]
        subprocess.run(command, check=True)

    def fill(self) -> None:
        """Somebody else writes a file until there is no room."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1024 * 1024)):
                pass

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", str(self._folder)], check=False)


class EchoBackend:
    """Answers the RPC of `babble`, until it leaves."""

    def __init__(self) -> None:
        self._client: Client | None = None

    async def come(self, nats_url: str) -> None:
        self._client = await nats.connect(nats_url, max_reconnect_attempts=-1, error_cb=_ignore)
        await self._client.subscribe(f"rpc.{METHOD}", "backend", cb=_echo)
        await self._client.flush()

    async def leave(self) -> None:
        """Does nothing if it is not there."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _echo(message: Msg) -> None:
    await message.respond(message.data)


async def _ignore(error: Exception) -> None:
    """NATS is taken away from it on purpose."""


class Surroundings:
    """Those of one stage; None for what it does not need. A backend is always there."""

    def __init__(self) -> None:
        self.keys: KeyEndpoint | None = None
        self.receiver: WebhookReceiver | None = None
        self.peers: NatsPeers | None = None
        self.disk: SmallDisk | None = None
        self.backend = EchoBackend()

    def close(self) -> None:
        """Ends them. The stack has to be down."""
        for one in (self.keys, self.receiver, self.peers, self.disk):
            if one is not None:
                one.close()
