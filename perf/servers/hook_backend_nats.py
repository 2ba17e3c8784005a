"""An application's backend that admits everybody at once, over HTTP and on NATS: what is measured is the edge's work.

`python -m perf.servers.hook_backend_nats NATS_URL PORT` runs until SIGTERM; it listens on the port when it is ready.
Its HTTP is plain bytes: a framework would cost more than an edge, and share the machine with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import nats
import uvloop
from nats.aio.msg import Msg

from deploy.processes.ports import HOST, free_port
from deploy.processes.process import Process, Program
from deploy.processes.readiness import is_listening
from perf.servers import processes
from proto import subjects

_ANSWER: Final = b'{"result":{"user":"56"}}'
_RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_ANSWER),
    _ANSWER,
)
_HEAD_ENDS: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_STOP_WITHIN_S: Final = 5.0


@contextlib.asynccontextmanager
async def running(nats_url: str, folder: Path) -> AsyncIterator[int]:
    """A process of it that is ready, its log in `folder`. Gives its port. Raises `Refusal`."""
    port = free_port()
    command = (sys.executable, "-m", "perf.servers.hook_backend_nats", nats_url, str(port))
    async with processes.running(
        Process(Program("the backend", command), folder / "backend.log"), _STOP_WITHIN_S
    ) as it:
        await processes.ready(it, lambda: is_listening(port))
        yield port


async def _serve(nats_url: str, port: int) -> None:
    client = await nats.connect(nats_url, name="perf-backend")

    async def respond(message: Msg) -> None:
        await message.respond(_ANSWER)

    await client.subscribe(subjects.hook("connect"), "backend", respond)
    await client.flush()
    server = await asyncio.start_server(_answer, HOST, port, backlog=1024)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(_HEAD_ENDS)).lower()
            _, _, rest = head.partition(_LENGTH)
            await reader.readexactly(int(rest.partition(b"\r\n")[0]))
            writer.write(_RESPONSE)
    writer.close()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
