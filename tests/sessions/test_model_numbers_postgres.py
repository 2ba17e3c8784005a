"""Rows that another version folded are noticed at each start, until their model is rebuilt."""

from __future__ import annotations

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.model_numbers_postgres import outdated, warn_of_outdated
from services.sessions.projection import NAMES
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_a_model_of_another_number_is_named_and_stays_so(postgres: Postgres, caplog: pytest.LogCaptureFixture):
    async with Pool(postgres.url, 2) as pool, pool.database() as database:
        await PostgresStore(pool, 1000).commit(ORIGIN, Position("e", 3), [])
        await warn_of_outdated(pool)
        assert await outdated(database) == {} and not caplog.records
        await database.execute("UPDATE projections SET name = 'drops-0' WHERE name = 'drops-1'")
        await PostgresStore(pool, 1000).commit(Position("e", 3), Position("e", 5), [])
        assert await outdated(database) == {"drops": "drops-0"}, "no commit makes them new"
        await warn_of_outdated(pool)
        assert "rebuild drops" in caplog.text and len(caplog.records) == 1


async def test_the_position_of_all_does_not_hide_that_sessions_are_outdated(postgres: Postgres):
    async with Pool(postgres.url, 2) as pool, pool.database() as database:
        await PostgresStore(pool, 1000).commit(ORIGIN, Position("e", 3), [])
        newer = {**NAMES, "sessions": "sessions-2", "edges": "edges-99"}
        assert await outdated(database, newer) == {"edges": NAMES["edges"], "sessions": "sessions-1"}
        await database.execute(
            "INSERT INTO projections (name, epoch, sequence, moved_at) VALUES ('sessions-2', 'e', 3, now())"
        )
        assert await outdated(database, newer) == {"edges": NAMES["edges"]}
