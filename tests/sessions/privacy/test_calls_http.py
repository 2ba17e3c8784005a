"""Users exported and erased over HTTP, by keys that may do it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from starlette.applications import Starlette

from proto import subjects
from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed, encode_batch
from services.chassis.http.api_key import ApiKeys
from services.chassis.nats.streams import store
from services.chassis.process.api_keys import HttpApiSettings
from services.sessions.privacy.calls_http import MAX_BODY, MAX_EXPORTS, PrivacyApi
from services.sessions.privacy.person import Person
from tests.sessions.privacy.stores import found_in_jetstream, found_in_postgres
from tests.sessions.privacy.test_jobs import Away
from tests.sessions.running import sessions_of, start
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

ANN = "ann-of-the-tests-of-erasures-over-http"
KEYS = """
[[http_api.keys]]
name = "reader"
key = "may-read"
scope = "read"
[[http_api.keys]]
name = "officer"
key = "may-erase"
scope = "privacy"
"""


async def call(service: ServiceProcess, path: str, body: Any = None, key: str = "may-erase") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http_client(headers={"X-API-Key": key}) as http:
        if body is None:
            return await http.get(f"{service.url}{path}", timeout=20)
        return await http.post(f"{service.url}{path}", content=content, timeout=20)


async def test_a_user_is_exported_and_erased(services: Services, nats_server: NatsServer, postgres: Postgres) -> None:
    service = await start(services, nats_server, postgres, toml=KEYS).ready(60)
    ann = Person(ANN)
    facts: list[SessionEvent] = [Opened(1_000, "c1", ANN, address="192.0.2.7"), Subscribed(1_001, "c1", "news")]
    facts += [Closed(1_002, "c1", 1000), Opened(1_002, "c2", "bob")]
    async with linked(nats_server.url) as link:
        batch = EventBatch("e", "i", 1, facts)
        await store(link, subjects.session_events("i"), encode_batch(batch), None)
        await eventually(lambda: _are_known(service, 2))

        exported = (await call(service, "/privacy/export", {"user": ANN})).text.splitlines()
        lines = [json.loads(line) for line in exported]
        assert {"user", "sessions", "connections", "subscriptions", "log", "end"} <= {line["store"] for line in lines}
        assert lines[-1] == {"store": "end", "lines": len(lines) - 1, "found": len(lines) - 2}
        assert "bob" not in "".join(exported) and "192.0.2.7" in "".join(exported)

        assert (await ended(service, {"user": ANN, "dry_run": True}))["stores"]["sessions"] == 1
        done = await ended(service, {"user": ANN})
        assert (done["state"], done["error"], done["facts_removed"]) == ("done", None, 3), done
        assert await found_in_jetstream(link, ann) == set() and await found_in_postgres(postgres.url, ann) == set()
        assert [row["user"] for row in await sessions_of(service)] == ["bob"]
    said = service.log()
    assert ANN not in said, [line for line in said.splitlines() if ANN in line]
    assert f"erasing the user of digest {ann.digest[:12]}" in said and "key=officer" in said

    assert (await call(service, "/privacy/erasures/none")).status_code == 404
    for path in ("/privacy/export", "/privacy/erase"):
        assert (await call(service, path, {"user": ANN}, key="may-read")).status_code == 403
        assert (await call(service, path, {"user": ANN}, key="none")).status_code == 401
        for body in (
            b"",
            b"{",
            b"\xff",
            b'{"user": ""}',
            b'{"user": 1}',
            b'{"user": "a", "x": 1}',
            b" " * MAX_BODY * 2,
        ):
            answer = await call(service, path, body)
            assert answer.status_code == 400 and answer.json()["error"]["message"].startswith("body: "), body[:20]


async def test_exports_are_few_at_a_time() -> None:
    away = Away()
    api = PrivacyApi(ApiKeys(HttpApiSettings(key="all")), away.open)
    transport = httpx.ASGITransport(Starlette(routes=api.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers={"X-API-Key": "all"}) as http:

        async def export() -> httpx.Response:
            return await http.post("/privacy/export", content=json.dumps({"user": ANN}))

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(export()) for _ in range(MAX_EXPORTS)]
            await eventually(lambda: away.opening == MAX_EXPORTS)
            answer = await export()
            assert answer.status_code == 429 and f"{MAX_EXPORTS} exports are running" in answer.text
            away.may_fail.set()
        assert ['"store":"error"' in (await one).text for one in running] == [True] * MAX_EXPORTS
        assert (await export()).status_code == 200, "they are over"
    await api.stop()


async def _are_known(service: ServiceProcess, count: int) -> None:
    assert len(await sessions_of(service)) == count


async def ended(service: ServiceProcess, body: dict[str, Any], key: str = "may-erase") -> dict[str, Any]:
    """What became of an erasure."""
    begun = await call(service, "/privacy/erase", body, key)
    assert begun.status_code == 202, begun.text

    async def has_ended() -> dict[str, Any]:
        job: dict[str, Any] = (await call(service, begun.headers["location"], key=key)).json()
        assert job["state"] != "running"
        return job

    return await eventually(has_ended, within_s=60)
