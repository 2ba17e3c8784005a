"""The history in a real PostgreSQL: written once however many instances write, downsampled, dropped when too old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.metrics import tables
from services.metrics.history_postgres import PostgresHistory
from services.metrics.minutes import WHOLE, Minute, whole
from services.metrics.schema_postgres import SCHEMA
from services.sessions.schema_postgres import SCHEMA as SESSIONS
from tests.metrics.capacity.edges import minute
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = 86400
T0 = 1_790_000_400 // DAY * DAY  # a midnight


def an_hour(at: int, connections: float = 100, seconds: int = 60) -> list[Minute]:
    """60 minutes of two edges and the whole, from `at` on; the last ten are busy."""
    minutes: list[Minute] = []
    for number in range(60):
        n = connections * (3 if number >= 50 else 1)
        edges = [minute(n, at=at + 60 * number, edge=f"edge-{k}")._replace(seconds=seconds) for k in (1, 2)]
        minutes += [*edges, whole(edges)]
    return minutes


@pytest.fixture
async def pool(postgres: Postgres) -> AsyncIterator[Pool]:
    async with Pool(postgres.url, 2) as made:
        yield made


async def rows(pool: Pool, query: str) -> list[Any]:
    async with pool.database() as database:
        return list(await database.fetch(query))


async def test_the_migrations_make_the_described_tables_beside_those_of_the_sessions_service(empty_postgres: Postgres):
    await asyncio.gather(
        SCHEMA.migrate(empty_postgres.url), SESSIONS.migrate(empty_postgres.url), SCHEMA.migrate(empty_postgres.url)
    )
    assert (await SCHEMA.revision(empty_postgres.url), await SESSIONS.revision(empty_postgres.url)) == (
        SCHEMA.head,
        SESSIONS.head,
    )

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True, "version_table": SCHEMA.version_table}
        options["include_name"] = lambda name, kind, parents: kind != "table" or name.startswith("metrics_")
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.METADATA))

    engine = create_async_engine(empty_postgres.url.replace("postgresql", "postgresql+asyncpg", 1))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA.head]


async def test_instances_that_write_the_same_minutes_do_not_double_them(pool: Pool):
    """Also while both make the partitions; of two versions the one that heard more stays, whichever comes last."""
    minutes = an_hour(T0 - 1800)  # over midnight: two partitions
    one, two = (PostgresHistory(pool, 14 * DAY, 400 * DAY) for _ in range(2))
    await asyncio.gather(one.write(minutes), two.write(minutes))
    late = [each._replace(seconds=5, connections=1.0) for each in minutes]
    await two.write(late)
    assert await rows(pool, "SELECT count(*), min(seconds), min(connections) FROM metrics_minutes") == [(180, 60, 100)]
    await asyncio.gather(one.tidy(T0 + 7200), two.tidy(T0 + 7200))
    found = await one.hours(T0 - DAY, whole=True, limit=100)
    assert [(each.hour - T0, each.minutes) for each in found] == [(-3600, 30), (0, 30)]


async def test_an_hour_has_the_means_of_its_minutes_and_what_it_was_like_when_busy(pool: Pool):
    history = PostgresHistory(pool, 14 * DAY, 400 * DAY)
    await history.write(an_hour(T0))
    await history.tidy(T0 + 3600)
    (hour,) = await history.hours(T0, whole=True, limit=10)
    assert (hour.hour, hour.minutes, hour.mean.edge, hour.mean.edges) == (T0, 60, WHOLE, 2)
    assert (hour.mean.connections, hour.high.connections) == pytest.approx((2 * (50 * 100 + 10 * 300) / 60, 600))
    each = await history.hours(T0, whole=False, limit=10)
    assert [(one.mean.edge, one.high.connections) for one in each] == [("edge-1", 300), ("edge-2", 300)]


async def test_an_hour_that_is_not_over_is_not_made_and_late_minutes_come_into_theirs(pool: Pool):
    history = PostgresHistory(pool, 14 * DAY, 400 * DAY)
    minutes = an_hour(T0)
    await history.write(minutes[:90])
    await history.tidy(T0 + 1800)
    assert await history.hours(T0, whole=True, limit=10) == []
    await history.tidy(T0 + 3600)
    await history.write(minutes[90:])  # the instance had lost PostgreSQL
    await history.tidy(T0 + 7200)
    assert [one.minutes for one in await history.hours(T0, whole=True, limit=10)] == [60]


async def test_what_is_too_old_is_dropped_and_its_hours_stay(pool: Pool):
    history = PostgresHistory(pool, 2 * DAY, 40 * DAY)
    for day in range(5):
        await history.write(an_hour(T0 + day * DAY, connections=100 + day))
        await history.tidy(T0 + day * DAY + 3600)
    assert await rows(pool, "SELECT min(minute) FROM metrics_minutes") == await rows(
        pool, f"SELECT to_timestamp({T0 + 2 * DAY})"
    )
    assert [one.mean.connections for one in await history.hours(T0, whole=True, limit=10)] == pytest.approx(
        [2 * (100 + day) * 80 / 60 for day in range(5)]
    )
    assert [one.hour for one in await history.hours(T0, whole=True, limit=2)] == [T0 + 3 * DAY, T0 + 4 * DAY]
    assert await history.tidy(T0 + 100 * DAY) >= 3  # both tables
    assert await history.hours(T0, whole=True, limit=10) == []


async def test_a_partition_that_somebody_dropped_is_made_again(pool: Pool):
    history = PostgresHistory(pool, 14 * DAY, 400 * DAY)
    await history.write(an_hour(T0)[:3])
    for (name,) in await rows(
        pool, "SELECT relname FROM pg_class WHERE relname LIKE 'metrics_minutes_2%' AND relkind = 'r'"
    ):
        async with pool.database() as database:
            await database.execute(f"DROP TABLE {name}")
    await history.write(an_hour(T0)[:3])
    assert len(await rows(pool, "SELECT * FROM metrics_minutes")) == 3


async def test_without_postgresql_it_says_so(postgres: Postgres, pool: Pool):
    history = PostgresHistory(pool, 14 * DAY, 400 * DAY)
    postgres.stop()
    with pytest.raises(StoreAway):
        await history.write(an_hour(T0)[:3])
    postgres.start()
    database = await asyncpg.connect(postgres.url)
    await database.execute("DROP TABLE metrics_minutes")
    await database.close()
    with pytest.raises(StoreAway, match="metrics_minutes"):  # not migrated: an operator can mend it
        await history.write(an_hour(T0)[:3])
