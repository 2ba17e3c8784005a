"""A running Fairlead as its users see it: its addresses, an API key, tokens; and the stock client on it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import centrifuge
import jwt

from tests.support.plain_http import http_client


@dataclass(frozen=True)
class Fairlead:
    """A running deployment, with what its users know of it."""

    port: int
    sockets_port: int
    token_key: str
    api_key: str

    async def call(self, method: str, **body: Any) -> dict[str, Any]:
        """The result of a server API call."""
        async with http_client() as http:
            answer = await http.post(self._url(f"/api/{method}"), headers=self._key(), json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["result"])

    async def read(self, path: str) -> dict[str, Any]:
        """What the sessions read API answers."""
        async with http_client() as http:
            answer = await http.get(self._url(path), headers=self._key())
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def clients_by_edge(self) -> dict[str, int]:
        return {node["name"]: node["num_clients"] for node in (await self.call("info"))["nodes"]}

    def websocket_url(self, passed_through: bool = False) -> str:
        """Where clients connect; `passed_through` as TCP, past Traefik's HTTP."""
        return f"ws://127.0.0.1:{self.sockets_port if passed_through else self.port}/connection/websocket"

    def client(self, user: str, passed_through: bool = False) -> Chatter:
        claims = {"sub": user, "exp": int(time.time()) + 600}
        token = jwt.encode(claims, self.token_key, algorithm="HS256")
        return Chatter(self.websocket_url(passed_through), token)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _key(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key}


class _Notes(centrifuge.SubscriptionEventHandler):
    def __init__(self) -> None:
        self.received: list[Any] = []
        self.offsets: list[int] = []
        self.resumes: list[bool] = []

    async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
        self.received.append(ctx.pub.data)
        self.offsets.append(ctx.pub.offset)

    async def on_subscribed(self, ctx: centrifuge.SubscribedContext) -> None:
        if ctx.was_recovering:
            self.resumes.append(ctx.recovered)


class Chatter:
    """A stock centrifuge-python client in one channel, with what it has received. Leaves at the end of its `with`."""

    def __init__(self, url: str, token: str) -> None:
        self._client = centrifuge.Client(url, token=token, min_reconnect_delay=0.05, max_reconnect_delay=0.5)
        self._notes = _Notes()
        self._subscription: centrifuge.Subscription | None = None

    async def __aenter__(self) -> Chatter:
        return self

    async def __aexit__(self, *_: object) -> None:
        before = asyncio.all_tasks()
        await self._client.disconnect()
        # The client closes its socket in a task of its own, which must not outlive the test's event loop.
        closing = asyncio.all_tasks() - before
        if closing:
            await asyncio.wait(closing, timeout=15)

    async def join(self, channel: str) -> None:
        """Connects and subscribes."""
        self._subscription = self._client.new_subscription(channel, self._notes)
        await self._client.connect()
        await self._subscription.subscribe()
        await self._subscription.ready(timeout=20)

    async def publish(self, data: Any) -> None:
        assert self._subscription is not None
        await self._subscription.publish(data)

    @property
    def received(self) -> list[Any]:
        return self._notes.received

    @property
    def offsets(self) -> list[int]:
        return self._notes.offsets

    @property
    def resumes(self) -> list[bool]:
        """For each reconnect, whether the client got everything that it had missed."""
        return self._notes.resumes
