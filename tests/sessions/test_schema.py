"""The migrations make the tables that are described, once, however many start at the same time."""

from __future__ import annotations

import asyncio
import dataclasses
import re

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from services.chassis.postgres import schema
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.sessions import tables
from services.sessions.schema_postgres import SCHEMA
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_migrations_make_exactly_the_described_tables(empty_postgres: Postgres):
    assert tables.SessionRow.__tablename__ in SQLModel.metadata.tables
    await asyncio.gather(*(SCHEMA.migrate(empty_postgres.url) for _ in range(3)))
    assert await SCHEMA.revision(empty_postgres.url) == SCHEMA.head

    def is_described(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name is None or re.search(r"_(p\d{8}|default)$", name) is None

    def differences(connection: Connection) -> list[object]:
        opts = {"compare_type": True, "compare_server_default": True, "include_name": is_described}
        context = MigrationContext.configure(connection, opts=opts)
        return list(compare_metadata(context, SQLModel.metadata))

    engine = create_async_engine(empty_postgres.url.replace("postgresql", "postgresql+asyncpg", 1))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def test_the_newest_revision_is_the_one_that_the_service_wants():
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA.head]


async def test_an_unknown_or_missing_revision_is_refused_with_what_to_do(empty_postgres: Postgres):
    with pytest.raises(SchemaRefused, match=r"services\.sessions migrate"):
        await SCHEMA.check(empty_postgres.url)
    await SCHEMA.migrate(empty_postgres.url)
    await SCHEMA.check(empty_postgres.url)
    database = await asyncpg.connect(empty_postgres.url)
    await database.execute("UPDATE alembic_version SET version_num = '9999'")
    await database.close()
    with pytest.raises(SchemaRefused, match="run the newer version"):
        await SCHEMA.migrate(empty_postgres.url)


async def test_wrong_credentials_and_an_absent_server_are_told_apart_from_mistakes(empty_postgres: Postgres):
    with pytest.raises(StoreAway, match="does not exist"):
        await SCHEMA.migrate(empty_postgres.url + "_absent")
    empty_postgres.stop()
    with pytest.raises(StoreAway):
        await SCHEMA.migrate(empty_postgres.url)


@pytest.mark.parametrize(
    ("held", "because"),
    [
        ("LOCK TABLE alembic_version", "does not answer in time: see its load, its locks"),
        ("SELECT * FROM alembic_version FOR UPDATE", r"lock timeout \(55P03\): a lock is held for too long"),
        (f"SELECT pg_advisory_xact_lock({schema._LOCK})", "another process has been migrating the database"),
    ],
    ids=["of the table", "of its row", "of another migration"],
)
async def test_a_lock_that_is_held_is_not_waited_for_without_a_bound(
    empty_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, held: str, because: str
):
    monkeypatch.setattr(schema, "_ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT_S", 0.2)
    await dataclasses.replace(SCHEMA, head="0001").migrate(empty_postgres.url)
    database = await asyncpg.connect(empty_postgres.url)
    try:
        async with database.transaction():
            await database.execute(held)
            async with asyncio.timeout(20):
                with pytest.raises(StoreAway, match=because):
                    await SCHEMA.migrate(empty_postgres.url)
    finally:
        await database.close()
    await SCHEMA.migrate(empty_postgres.url)


async def test_a_server_that_hangs_during_a_migration_is_not_waited_for_without_a_bound(
    empty_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schema, "_STATEMENT_TIMEOUT_S", 0.2)
    await dataclasses.replace(SCHEMA, head="0001").migrate(empty_postgres.url)
    database = await asyncpg.connect(empty_postgres.url)
    try:
        async with database.transaction():
            await database.execute("SELECT * FROM alembic_version FOR UPDATE")
            async with asyncio.timeout(8):
                with pytest.raises(StoreAway, match="does not answer in time"):
                    await SCHEMA.migrate(empty_postgres.url)
    finally:
        await database.close()
