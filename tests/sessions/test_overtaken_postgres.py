"""What the log dropped is remembered by epoch, and added up."""

from __future__ import annotations

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.overtaken import Overtaken
from services.sessions.overtaken_postgres import keep_overtaken, overtaken_so_far
from services.sessions.schema_postgres import SCHEMA
from tests.sessions.database import execute
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_stretches_of_an_epoch_are_added_up_without_what_is_archived(postgres: Postgres):
    await SCHEMA.migrate(postgres.url)
    await execute(
        postgres.url,
        "INSERT INTO log_archive SELECT 'old', n, now(), 'i', '' FROM unnest(ARRAY[10, 12, 13, 30]) n",
    )
    async with Pool(postgres.url, 1) as pool:
        async with pool.database() as database:
            assert await keep_overtaken(database, "old", [Overtaken(12, 13)]) == 0
            assert await keep_overtaken(database, "old", [Overtaken(10, 19), Overtaken(25, 26)]) == 9
            assert await keep_overtaken(database, "old", [Overtaken(40, 40)]) == 1
            assert await keep_overtaken(database, "new", [Overtaken(5, 9)]) == 5
        found = await overtaken_so_far(pool)
    assert [one[:3] for one in found] == [(10, 10, 40), (5, 5, 9)]
    assert all(one.noticed_at for one in found)
