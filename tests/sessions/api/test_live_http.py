"""Changes of sessions as a client of the running service follows them, on an instance that need not be the one that
folds."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from proto.events import Closed, Opened, Subscribed
from services.chassis.http.api_key import ApiKeys
from services.chassis.http.application import make_application
from services.chassis.process.api_keys import HttpApiSettings
from services.sessions.api.live import Hub, LiveFilter
from services.sessions.api.live_http import LiveApi, events
from services.sessions.changes import Change, Changes
from services.sessions.rows import Session
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import API_KEY, sessions_of, start
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.raw_client import asking, everything
from tests.support.servers import NatsServer, Postgres


class Stream:
    """Reads events."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def event(self) -> dict[str, Any]:
        """The next event: its kind, id and data."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name in ("event", "id", "data"):
                    found[name] = json.loads(value) if name == "data" else value
                if not line and "event" in found:
                    return found
        raise EOFError

    async def about(self, session: str) -> dict[str, Any]:
        """The next event about this session."""
        while (event := await self.event())["data"].get("id") != session:
            pass
        return event

    async def ends(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(20):
            return [line async for line in self._lines if line.startswith("event")] == []


@asynccontextmanager
async def following(service: ServiceProcess, last: str = "", **query: str) -> AsyncIterator[Stream]:
    headers = {"X-API-Key": API_KEY, **({"Last-Event-ID": last} if last else {})}
    async with (
        http_client(base_url=service.url, headers=headers, timeout=30) as http,
        http.stream("GET", "/sessions/live", params=query) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


async def _is_told_of_changes(stream: Stream, edge: EdgeDouble) -> None:
    """The instance that folds may learn of a new follower only after its next commit, which is then a reset."""
    for number in itertools.count():
        await edge.write(Opened(at=int(time.time() * 1000), connection=f"{edge.number}-{number}", user="ann"))
        if (await stream.event())["event"] == "opened":
            return


@pytest.mark.integration
async def test_changes_reach_followers_of_every_instance_and_who_comes_back(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    one, two = (
        await start(services, nats_server, postgres).ready(),
        await start(services, nats_server, postgres).ready(),
    )
    now = int(time.time() * 1000)
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(Opened(at=now, connection="first", user="bob"))
        await eventually(lambda: sessions_of(one))
        async with following(one) as a, following(two, user="ann") as b, following(two, channel="news") as c:
            for stream in (a, b):
                await _is_told_of_changes(stream, edge)
            await edge.write(Opened(at=now, connection="c1", user="ann", client_name="web"))
            for stream in (a, b):
                opened = await stream.about("c1")
                assert (opened["event"], opened["data"]["client_name"]) == ("opened", "web")
            await edge.write(Subscribed(at=now, connection="c1", channel="news"))
            assert (await b.event())["event"] == "subscribed" == (await c.about("c1"))["event"]
        await edge.write(Closed(at=now, connection="c1", code=1000))
        await eventually(lambda: sessions_of(two, state="ended"))
        async with following(two, last=opened["id"], user="ann") as again, following(one, last="e:1") as lost:
            missed = [await again.event() for _ in range(2)]
            assert [each["event"] for each in missed] == ["subscribed", "ended"]
            assert missed[1]["data"]["channels"] == ["news"]
            assert (await lost.event())["event"] == "reset"
            assert await two.stop() == 0
            assert (await again.event())["event"] == "stopping" and await again.ends()
    async with http_client(base_url=one.url, headers={"X-API-Key": API_KEY}) as http:
        assert (await http.get("/sessions/live", params={"state": "open"})).status_code == 400
        assert (await http.get("/sessions/live", headers={"X-API-Key": "wrong"})).status_code == 401
        assert (await http.head("/sessions/live")).status_code == 200


@pytest.mark.integration
async def test_who_follows_is_told_to_read_again_when_nats_was_away(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    """At once, and not with the next change, which may be hours away: what changed meanwhile is nowhere to be heard."""
    service = await start(services, nats_server, postgres).ready()
    async with following(service) as stream:
        nats_server.stop()
        nats_server.start()
        reset = await stream.event()
    assert reset["event"] == "reset" and "read the sessions again" in reset["data"]["message"]


async def test_who_never_reads_is_cut_and_makes_room_for_another() -> None:
    """What waits for it is bounded on the way, and its place and its socket are free again."""
    hub, number = Hub(), 0
    live = LiveApi(ApiKeys(HttpApiSettings(API_KEY)), hub, unread_s=0.1)
    app = make_application([Route("/sessions/live", live.live)])
    async with asking(app, "/sessions/live", {"X-API-Key": API_KEY}) as client:
        await eventually(lambda: len(hub) == 1)
        row = Session("a", "ann", "", "web", "1", "edge-1", "i", "a", 1, 1, None)
        wide = [Change("subscribed", "a", row, [letter * 500 for letter in "abcdefghij" * 10]) for _ in range(20)]

        def is_cut() -> bool:
            nonlocal number
            number += 1
            hub.heard(Changes(("e", number - 1), ("e", number), wide))
            return len(hub) == 0

        await eventually(is_cut)
        assert len(await everything(client)) < number * 1_000_000, "only what was on its way, and then the end"


async def test_a_stream_ends_when_its_key_is_taken_back() -> None:
    hub, keys = Hub(), ApiKeys(HttpApiSettings(API_KEY))
    app = make_application([Route("/sessions/live", LiveApi(keys, hub).live)])
    async with asking(app, "/sessions/live", {"X-API-Key": API_KEY, "Connection": "close"}) as client:
        await eventually(lambda: len(hub) == 1)
        keys.replace(HttpApiSettings("another"))
        hub.heard(Changes(("e", 0), ("e", 1), [Change("removed", "secret")]))
        received = await everything(client)
    assert b"event: refused" in received and b"secret" not in received and len(hub) == 0


async def test_a_stream_begins_at_once_and_ends_with_its_follower() -> None:
    hub, waiting = Hub(), asyncio.Event()
    follower = hub.follow(LiveFilter(), None, waiting.set)
    stream = events(follower, waiting)
    assert (await anext(stream)).startswith(b"retry: ")
    hub.close()
    assert b"event: stopping" in await anext(stream)
    assert [piece async for piece in stream] == []
