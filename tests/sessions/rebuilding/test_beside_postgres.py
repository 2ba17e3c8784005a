"""Tables of a command that was killed go before another one needs them. `test_rebuild` kills real ones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proto.events import Erased, EventBatch, Opened, SessionEvent, Subscribed, user_digest
from services.chassis.postgres.pool import Pool
from services.sessions.instruments import Instruments
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections
from services.sessions.privacy.tables_postgres import Tables
from services.sessions.rebuilding.beside_postgres import PREFIX, schema_beside
from services.sessions.retention_postgres import Retention
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.sessions.database import execute
from tests.sessions.privacy.stores import found_in_postgres
from tests.sessions.rebuilding.shop import killed_rebuild, schemas_beside
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


async def test_the_service_removes_what_was_left_behind_and_nothing_that_is_worked_with(postgres: Postgres) -> None:
    async with Pool(postgres.url, 1) as pool, schema_beside(postgres.url) as worked_with:
        left = f"{PREFIX}left_behind"
        await execute(postgres.url, f"CREATE SCHEMA {left} CREATE TABLE sessions (id text)")
        assert await schemas_beside(postgres.url) == 2
        await Retention(pool, 0, Instruments()).tend(datetime.now(UTC))
        assert await schemas_beside(postgres.url) == 1
        await execute(postgres.url, f"SELECT FROM {worked_with.beside}.sessions")
