"""Exports over HTTP: whole, compressed if that is wanted, bounded in number, and honest about their end."""

from __future__ import annotations

import asyncio
import csv
import io
import json

import asyncpg
import pytest

from proto.events import Opened
from services.chassis.postgres.pool import Pool
from services.sessions.api.export_http import MAX_EXPORTS, accepts_gzip
from services.sessions.api.session_export import PORTION
from tests.sessions.api.serving import Log, asking
from tests.support.eventually import eventually
from tests.support.servers import Postgres

COUNT = 2 * PORTION + 7


@pytest.mark.parametrize(
    ("header", "takes"),
    [("", False), ("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False)],
)
def test_compression_is_what_the_client_takes(header: str, takes: bool) -> None:
    assert accepts_gzip(header) == takes


@pytest.mark.integration
async def test_everything_that_the_filters_select_is_in_the_file(postgres: Postgres) -> None:
    async with Pool(postgres.url, 6) as pool, asking(postgres.url) as http:
        log = Log(pool)
        await log.write(*(Opened(at=n, connection=f"c{n:04}", user="=ann") for n in range(COUNT)))
        await log.write(Opened(at=1, connection="other", user="bob"))
        whole = await http.get("/sessions/export", params={"user": "=ann"}, headers={"Accept-Encoding": "gzip"})
        assert whole.status_code == 200 and whole.headers["content-encoding"] == "gzip"
        rows = list(csv.reader(io.StringIO(whole.text, newline="")))
        assert rows[-1] == ["#end", str(COUNT), "e:2"]
        assert [row[0] for row in rows[1:-1]] == [f"c{n:04}" for n in reversed(range(COUNT))]
        assert {row[1] for row in rows[1:-1]} == {"'=ann"}
        plain = {"Accept-Encoding": "identity"}
        lines = (
            await http.get(
                "/sessions/export", params={"format": "jsonl", "at": "1970-01-01T00:00:00.5Z"}, headers=plain
            )
        ).text
        assert len(lines.splitlines()) == 502 + 1 and json.loads(lines.splitlines()[-1])["end"]["count"] == 502
        assert (await http.head("/sessions/export")).status_code == 200
        for query in ({"format": "xml"}, {"limit": "3"}, {"from": "x"}):
            assert (await http.get("/sessions/export", params=query)).status_code == 400
        assert (await http.get("/sessions/export", headers={"X-API-Key": "publishes"})).status_code == 403


@pytest.mark.integration
async def test_more_than_may_run_are_refused_and_one_that_breaks_says_so(postgres: Postgres) -> None:
    holder = await asyncpg.connect(postgres.url)
    async with Pool(postgres.url, 6) as pool, asking(postgres.url) as http:
        await Log(pool).write(Opened(at=1, connection="c", user="ann"))
        async with asyncio.TaskGroup() as group, holder.transaction():
            await holder.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
            stuck = [
                group.create_task(http.get("/sessions/export", params={"channel": "x"})) for _ in range(MAX_EXPORTS)
            ]

            async def all_stuck() -> bool:
                return bool(await holder.fetchval("SELECT count(*) = $1 FROM pg_locks WHERE NOT granted", MAX_EXPORTS))

            await eventually(all_stuck)
            answer = await http.get("/sessions/export", params={"user": "ann"})
            assert answer.status_code == 429 and "2 exports are running" in answer.json()["error"]["message"]
            await holder.fetch("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        ends = [(await task).text.splitlines()[-1] for task in stuck]
        assert any(end.startswith("#error,") for end in ends), ends
        assert (await http.get("/sessions/export", params={"user": "ann"})).text.splitlines()[-1].startswith("#end,1,")
    await holder.close()
