"""Rows that are added to those that are stored."""

from __future__ import annotations

import json

import asyncpg
import pytest

from proto.events import Opened
from services.chassis.postgres.pool import Pool
from services.sessions.resident import Resident
from services.sessions.rows import (
    MAX_TIME,
    Channel,
    ChannelHour,
    DropKey,
    Edge,
    OpeningKey,
    Refusal,
    RefusalKey,
    Session,
    TimelineEntry,
    UserDevice,
)
from services.sessions.rows_postgres import session_of
from services.sessions.statements import SESSION_COLUMNS
from services.sessions.writes_postgres import writes_of
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def added(postgres: Postgres, query: str) -> list[tuple[object, ...]]:
    database = await asyncpg.connect(postgres.url)
    try:
        return [tuple(row) for row in await database.fetch(query)]
    finally:
        await database.close()


@pytest.mark.parametrize("copying", [True, False])
async def test_a_row_comes_back_as_it_was_written(postgres: Postgres, copying: bool):
    name = '"a\\",{}\n\'é'
    rows = [
        Session("s1", name, "", "js", "1", "edge-1", "i1", "c1", 1, 1, None),
        Session("s2", "", name, "", "", "", "", "", 2, MAX_TIME - 1, "l", MAX_TIME, 1_001, 1006, name, "", name),
    ]
    state = Resident(60_000)
    for row in rows:
        state.put_session(row)
        state.changed_sessions.add(row.id)
    async with Pool(postgres.url, 1) as pool, pool.database() as database:
        for write in await writes_of(state, copying):
            await write(database)
        stored = await database.fetch(f"SELECT {SESSION_COLUMNS} FROM sessions ORDER BY id")
    assert [session_of(row) for row in stored] == rows


async def test_what_a_commit_adds_is_added_to_what_is_there(postgres: Postgres):
    for first, last, moved in ((5_000, 9_000, 2), (4_000, 6_000, -1)):
        state = Resident(60_000)
        state.users["ann", "", "", ""] = UserDevice("ann", "", "", "", first, last, 1, 2)
        state.drops[DropKey(60_000, 0, "edge-1", 1006, "loss", "", "")] += moved
        state.openings[OpeningKey(60_000, 0, "edge-1", "", "", True)] += moved
        state.refusal_counts[RefusalKey(60_000, 0, "edge-1", "connect", 3500)] += moved
        state.channels["news"] = Channel("news", moved, 7, 1, 9, 1, last)
        state.changed_channels.add("news")
        state.channel_hours["news", 0] = ChannelHour("news", 0, 7, moved, 1)
        state.edges["i1"] = Edge("i1", "edge-1", "", first, last, ended=moved)
        state.changed_edges.add("i1")
        state.refusals.append(
            Refusal(1, "edge-1", "i1", "connect", 3500, "no", "", "ann", "", "", "", "", "", "", "", 1)
        )
        state.timeline["c1", 7] = TimelineEntry("c1", 7, 1_000, [Opened(at=first, connection="c1", user="\0")])
        async with Pool(postgres.url, 1) as pool, pool.database() as database:
            for write in await writes_of(state, copying=first == 5_000):
                await write(database)
    assert await added(
        postgres, "SELECT extract(epoch FROM first_seen), extract(epoch FROM last_seen), sessions, connections "
        "FROM user_devices"
    ) == [(4, 9, 2, 4)]  # fmt: skip
    for table in (
        "drops",
        "drop_codes",
        "drop_versions",
        "openings",
        "opening_versions",
        "refusal_counts",
    ):
        assert await added(postgres, f"SELECT width, count FROM {table}") == [(60, 1)]
    assert await added(postgres, "SELECT subscribers, peak FROM channels") == [(-1, 7)]
    assert await added(postgres, "SELECT last FROM channel_hours") == [(-1,)]
    assert await added(postgres, "SELECT peak, subscriptions FROM channel_days") == [(7, 2)]
    assert await added(postgres, "SELECT extract(epoch FROM last_at), ended FROM edges") == [(6, -1)]
    assert await added(postgres, "SELECT count(*) FROM refusals") == [(2,)]
    ((facts,),) = await added(postgres, "SELECT facts FROM timeline")
    assert [each["at"] for each in json.loads(str(facts))] == [5_000, 4_000]
