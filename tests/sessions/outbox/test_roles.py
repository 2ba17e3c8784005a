"""The rights that docs/outbox.md names are enough, for the application and for the relay."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.outbox.rows import Refused
from services.sessions.outbox.set_aside_postgres import SetAside
from services.sessions.outbox.table_postgres import MARKING, OutboxTable
from tests.sessions.database import execute
from tests.sessions.outbox.table import insert, make_outbox, rows_of
from tests.support.servers import Postgres
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.integration


def documented(role: str) -> list[str]:
    """The statements of the page that give rights to a role."""
    page = (ROOT / "docs" / "outbox.md").read_text().splitlines()
    return [line for line in page if line.startswith("GRANT ") and line.endswith(f" TO {role};")]


@pytest.fixture
async def urls(postgres: Postgres) -> AsyncIterator[tuple[str, str]]:
    """The database as the application sees it, and as the relay does."""
    await make_outbox(postgres.url)
    roles = {name: f"{name}_{os.urandom(6).hex()}" for name in ("shop_app", "fairlead_relay")}
    for name, role in roles.items():
        grants = [line.replace(f" TO {name};", f" TO {role}") for line in documented(name)]
        assert grants
        await execute(postgres.url, f"CREATE ROLE {role} LOGIN PASSWORD 'password'", *grants)
    owner, _, server = postgres.url.partition("@")
    assert owner.startswith("postgresql://")
    app, relay = (f"postgresql://{role}:password@{server}" for role in roles.values())
    yield app, relay
    for role in roles.values():
        await execute(postgres.url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_an_application_may_publish_and_see_nothing_of_others(urls: tuple[str, str], postgres: Postgres):
    app, _ = urls
    await insert(app, "a", "1")
    await execute(app, "INSERT INTO fairlead_outbox (channel, data_binary) VALUES ('a', '\\x00ff')")
    for statement in (
        "SELECT data FROM fairlead_outbox",
        "DELETE FROM fairlead_outbox",
        "UPDATE fairlead_outbox SET tried_at = NULL",
        "SELECT * FROM fairlead_outbox_set_aside",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(app, statement)
    assert len(await rows_of(postgres.url)) == 2


async def test_a_relay_may_ask_for_an_outbox_that_is_there_and_nothing_changes(
    urls: tuple[str, str], postgres: Postgres
):
    _, relay = urls
    await execute(postgres.url, "ALTER TABLE fairlead_outbox DISABLE TRIGGER fairlead_outbox_notify")
    for url in (relay, postgres.url):
        async with Pool(url, 1) as pool:
            await SetAside(pool).install()
    enabled = "SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'fairlead_outbox_notify'"
    database = await asyncpg.connect(postgres.url)
    try:
        assert await database.fetchval(enabled) == "D", "who has switched it off wants it so"
    finally:
        await database.close()


async def test_who_may_not_make_an_outbox_learns_who_may(urls: tuple[str, str], postgres: Postgres):
    _, relay = urls
    await execute(postgres.url, "DROP TABLE fairlead_outbox_set_aside")
    async with Pool(relay, 1) as pool:
        with pytest.raises(StoreAway, match="install it as the owner"):
            await SetAside(pool).install()


async def test_a_relay_and_its_operator_may_do_their_work(urls: tuple[str, str], postgres: Postgres):
    app, relay = urls
    await insert(app, "a", "1", "2", "3", "4")
    async with Pool(relay, 1 + MARKING) as pool:
        table, kept = OutboxTable(pool, relay), SetAside(pool)
        await table.check()
        async with table.turn(()) as turn:
            one, two, three, four = turn.rows
            refused = Refused(102, "unknown channel (102)")
            await turn.settle([one], [(two, refused), (three, refused)], [four])
        assert [aside.id for aside in await kept.all()] == [two.id, three.id]
        assert await kept.whole(two.id) is not None
        assert (await kept.replay(two.id), await kept.delete(None)) == (1, 1)
        async with table.turn(()) as turn:
            assert [row.data for row in turn.rows] == ["4", "2"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(relay, "UPDATE fairlead_outbox SET data = '0'")
