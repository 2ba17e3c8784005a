"""Tables of a command that was killed go before another one needs them. `test_rebuild` kills real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from proto.events import Erased, EventBatch, Opened, SessionEvent, Subscribed, user_digest
from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.instruments import Instruments
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections
from services.sessions.privacy.tables_postgres import Tables
from services.sessions.rebuilding.beside_postgres import PREFIX, remove_left_behind, schema_beside
from services.sessions.retention_postgres import Retention
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.sessions.database import as_ordinary_user, execute
from tests.sessions.privacy.stores import found_in_postgres
from tests.sessions.rebuilding.shop import end_its_maker, killed_rebuild, schemas_beside
from tests.support.eventually import eventually
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

FACTS: list[SessionEvent] = [
    Opened(1_000, "c1", "ann of the tests", "phone"),
    Subscribed(1_001, "c1", "#ann of the tests"),
]


async def test_an_erased_user_is_in_no_table_beside_either(postgres: Postgres) -> None:
    ann = Person("ann of the tests")
    await killed_rebuild(postgres.url, *FACTS)
    async with Pool(postgres.url, 2) as pool:
        store = PostgresStore(pool, 60_000)
        await store.commit(ORIGIN, Position("e", 1), [EventBatch("e", "i", 1, [*FACTS])])
        there = await found_in_postgres(postgres.url, ann)
        assert any("beside" in table for table in there) and "sessions" in there
        erased = EventBatch("", "privacy-1", 1, [Erased(2_000, user_digest(ann.user))])
        await store.commit(Position("e", 1), Position("e", 2), [erased])
        await Tables(pool, ann).erase(Connections(ann, set()))
    assert await found_in_postgres(postgres.url, ann) == set()


async def test_what_another_role_left_behind_stays_and_hides_nothing(postgres: Postgres) -> None:
    ordinary = await as_ordinary_user(postgres.url)
    await execute(postgres.url, f"CREATE SCHEMA {PREFIX}0 CREATE TABLE sessions (id text)")
    await execute(ordinary, f"CREATE SCHEMA {PREFIX}1 CREATE TABLE sessions (id text)")
    ann = Person("ann of the tests")
    async with Pool(ordinary, 2) as pool:
        store = PostgresStore(pool, 60_000)
        erased = EventBatch("", "privacy-1", 1, [Erased(2_000, user_digest(ann.user))])
        await store.commit(ORIGIN, Position("e", 1), [EventBatch("e", "i", 1, [*FACTS]), erased])
        await Tables(pool, ann).erase(Connections(ann, set()))
    assert await schemas_beside(postgres.url) == 1
    await execute(postgres.url, f"SELECT FROM {PREFIX}0.sessions")


async def test_of_two_who_remove_a_schema_each_returns_when_it_is_gone(postgres: Postgres) -> None:
    await execute(postgres.url, f"CREATE SCHEMA {PREFIX}0 CREATE TABLE sessions (id text)")
    async with Pool(postgres.url, 2) as pool, read(postgres.url, f"{PREFIX}0") as reading:
        removing = [asyncio.create_task(removed(pool)) for _ in range(2)]
        await reading.kept_waiting(2)
        await reading.end()
        assert sorted(await asyncio.gather(*removing)) == [0, 1], "it is counted once"
    assert await schemas_beside(postgres.url) == 0


async def test_so_does_who_finds_a_schema_that_its_maker_removes(postgres: Postgres) -> None:
    made, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def make() -> None:
        async with schema_beside(postgres.url) as beside:
            made.set_result(beside.beside)
            await done.wait()

    making = asyncio.create_task(make())
    async with Pool(postgres.url, 1) as pool, read(postgres.url, await made) as reading:
        done.set()
        await reading.kept_waiting(1)
        removing = asyncio.create_task(removed(pool))
        await reading.kept_waiting(2)
        await reading.end()
        await making
        assert await removing == 0
    assert await schemas_beside(postgres.url) == 0


async def removed(pool: Pool) -> int:
    async with pool.database() as database:
        return await remove_left_behind(database)


class Reading:
    """Keeps whoever removes the tables of a schema waiting until it ends."""

    def __init__(self, database: asyncpg.Connection[asyncpg.Record]) -> None:
        self._database = database

    async def kept_waiting(self, many: int) -> None:
        async def wait() -> None:
            assert await self._database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == many

        await eventually(wait)

    async def end(self) -> None:
        await self._database.execute("ROLLBACK")


@asynccontextmanager
async def read(url: str, schema: str) -> AsyncIterator[Reading]:
    database = await asyncpg.connect(url)
    try:
        await database.execute("BEGIN")
        await database.execute(f"SELECT FROM {schema}.sessions")
        yield Reading(database)
    finally:
        await database.close()


async def test_work_ends_when_its_schema_may_be_taken_for_left_behind(postgres: Postgres) -> None:
    with pytest.raises(StoreAway, match=r"the tables beside broke.*run the command again"):
        async with asyncio.timeout(10), schema_beside(postgres.url, 0.01) as beside:
            await end_its_maker(postgres.url, beside)
            await asyncio.Event().wait()
    with pytest.raises(StoreAway, match=r"UndefinedTable.*the tables beside broke"):
        async with schema_beside(postgres.url) as beside:
            await end_its_maker(postgres.url, beside)
            raise StoreAway("UndefinedTable")  # the service was faster


async def test_work_that_fails_or_is_cancelled_tells_why_itself(postgres: Postgres) -> None:
    with pytest.raises(StoreAway, match=r"^a disk is full$"):
        async with schema_beside(postgres.url, 0.01):
            raise StoreAway("a disk is full")
    began = asyncio.Event()

    async def work() -> None:
        async with schema_beside(postgres.url, 0.01):
            began.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await began.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await schemas_beside(postgres.url) == 0


async def test_the_service_removes_what_was_left_behind_and_nothing_that_is_worked_with(postgres: Postgres) -> None:
    async with Pool(postgres.url, 1) as pool, schema_beside(postgres.url) as worked_with:
        left = f"{PREFIX}left_behind"
        await execute(postgres.url, f"CREATE SCHEMA {left} CREATE TABLE sessions (id text)")
        assert await schemas_beside(postgres.url) == 2
        await Retention(pool, 0, Instruments()).tend(datetime.now(UTC))
        assert await schemas_beside(postgres.url) == 1
        await execute(postgres.url, f"SELECT FROM {worked_with.beside}.sessions")
