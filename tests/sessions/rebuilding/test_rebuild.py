"""Read models are rebuilt beside a running service, as they were; whatever stops that leaves them alone."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from proto.events import user_digest
from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.partitions import TIME_COLUMNS
from services.sessions.partitions_postgres import Partitions
from services.sessions.projection import NAMES
from services.sessions.rebuilding.workshop import NotRebuilt
from tests.sessions.database import as_ordinary_user, execute
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.rebuilding.shop import (
    all_rows,
    folded,
    rebuilt,
    rows_of,
    schemas_beside,
    served,
    settings_of,
    verified,
    write_days,
)
from tests.sessions.running import variables
from tests.support import forks
from tests.support.eventually import eventually
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OBJECTS = """
SELECT c.relkind::text || ' ' || c.relname || ' ' ||
    COALESCE(pg_get_indexdef(i.indexrelid), pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid), '')
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1"""


async def fetch(url: str, question: str) -> list[str]:
    database = await asyncpg.connect(url)
    try:
        return [str(row[0]) for row in await database.fetch(question)]
    finally:
        await database.close()


async def test_models_are_rebuilt_as_they_were(nats_server: NatsServer, postgres: Postgres):
    async with served(nats_server, postgres):
        settings = settings_of(nats_server, postgres)
        before, objects = await all_rows(postgres.url), await fetch(postgres.url, OBJECTS)
        assert [table for table, rows in before.items() if not rows] == [], "there is something of every model"
        await execute(postgres.url, "UPDATE projections SET name = 'drops-0' WHERE name = 'drops-1'")
        await rebuilt(settings, "all")
        assert await all_rows(postgres.url) == before
        assert await fetch(postgres.url, OBJECTS) == objects, "with the same partitions, indexes and sequences"
        assert set(await fetch(postgres.url, "SELECT name FROM projections")) == set(NAMES.values())
        await write_days(nats_server, 1, begin=3)
        await folded(nats_server, postgres)
        assert await verified(settings), "the service writes into the new tables"
        assert await schemas_beside(postgres.url) == 0
        later = datetime.now(UTC) + timedelta(days=90)
        async with Pool(postgres.url, 1) as pool:
            made = {name.rpartition("_p")[0] for name in await Partitions(pool, timedelta(0)).make(later)}
            assert made == set(TIME_COLUMNS), "as if they had never been swapped"
            keeping = Partitions(pool, timedelta(days=7), timedelta(days=7))
            assert {name.rpartition("_p")[0] for name in await keeping.drop(later)} == set(TIME_COLUMNS)


async def test_it_is_a_command(nats_server: NatsServer, postgres: Postgres):
    async with served(nats_server, postgres, days=0):
        with pytest.raises(NotRebuilt, match="has not folded anything yet"):
            await rebuilt(settings_of(nats_server, postgres), "drops")
        await write_days(nats_server, 2)
        await folded(nats_server, postgres)
        before = await rows_of(postgres.url, "drops")
        await execute(postgres.url, "DELETE FROM drops", "GRANT SELECT ON drops TO pg_monitor")
        command = rebuilding("drops")
        done = await asyncio.to_thread(forks.run, command, env=variables(nats_server, postgres), timeout=60)
        assert done.returncode == 0, done.stderr
        assert [line.partition(" from ")[0] for line in done.stdout.splitlines()][1:] == ["rebuilt drops"], done
        assert done.stdout.startswith("the session log reaches back to "), done
        assert await rows_of(postgres.url, "drops") == before
        assert await fetch(postgres.url, "SELECT has_table_privilege('pg_monitor', 'drops', 'SELECT')") == ["True"]
        ordinary = await as_ordinary_user(postgres.url)
        name = ordinary.partition("//")[2].partition(":")[0]
        await execute(
            postgres.url,
            f'ALTER DATABASE "{postgres.url.rpartition("/")[2]}" OWNER TO CURRENT_USER',
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        )
        with pytest.raises(StoreAway, match="GRANT CREATE ON DATABASE"):
            await rebuilt(settings_of(nats_server, postgres, POSTGRES_URL=ordinary), "all")


def rebuilding(name: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "services.sessions", "rebuild", name]


async def test_what_ends_it_changes_nothing_and_facts_that_arrive_meanwhile_are_in_it(
    nats_server: NatsServer, postgres: Postgres
):
    """Somebody reads the tables for a while, so that they cannot be swapped; the service folds on."""
    async with served(nats_server, postgres, days=1):
        settings, before = settings_of(nats_server, postgres), await all_rows(postgres.url)
        reader = await asyncpg.connect(postgres.url)
        try:
            reading = reader.transaction()
            await reading.start()
            await reader.fetch("SELECT count(*) FROM sessions")
            code, said = await ended_by(signal.SIGINT, nats_server, postgres)
            assert (code, said.splitlines()[-1][:11]) == (130, "interrupted"), said
            assert await schemas_beside(postgres.url) == 0
            await eventually(lambda: is_idle(postgres.url), 60)
            await ended_by(signal.SIGKILL, nats_server, postgres)
            assert await schemas_beside(postgres.url) == 1
            assert await all_rows(postgres.url) == before
            await eventually(lambda: is_idle(postgres.url), 60)
            work = asyncio.create_task(rebuilt(settings, "all"))
            await eventually(lambda: is_ready_to_swap(postgres.url), 60)
            await write_days(nats_server, 2, begin=1)
            await folded(nats_server, postgres)
            assert not work.done()
            await reading.rollback()
        finally:
            await reader.close()
        await work
        assert await verified(settings)
        assert any("d2-bob" in row for row in await rows_of(postgres.url, "sessions"))
        assert await schemas_beside(postgres.url) == 0, "also what was killed has left nothing"


async def ended_by(end: signal.Signals, nats_server: NatsServer, postgres: Postgres) -> tuple[int, str]:
    """The command gets a signal when it waits for the swap: its exit code, and what it said."""
    with tempfile.TemporaryFile() as said:
        process = forks.popen(rebuilding("all"), env=variables(nats_server, postgres), stdout=said, stderr=said)
        try:
            await eventually(lambda: is_ready_to_swap(postgres.url), 60)
            process.send_signal(end)
            code = await asyncio.to_thread(process.wait, 60)
        finally:
            process.kill()
        said.seek(0)
        text = said.read().decode()
    assert "Traceback" not in text, text
    return code, text


async def is_ready_to_swap(url: str) -> bool:
    """Whether a rebuild waits for the lock of a live table. The service may wait for it, too: to make a partition."""
    waiting = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND relation = 'public.sessions'::regclass AND query LIKE 'DROP TABLE %'"""
    return await fetch(url, waiting) != ["0"]


async def is_idle(url: str) -> bool:
    """Whether none does."""
    return not await is_ready_to_swap(url)


async def test_the_archive_alone_is_enough(nats_server: NatsServer, postgres: Postgres):
    async with served(nats_server, postgres, SESSIONS_ARCHIVE="true"):
        settings, before = settings_of(nats_server, postgres), await all_rows(postgres.url)
        async with EdgeDouble(nats_server.url, "nobody", silent=True) as edge:
            await edge.purge(keep=1)
            await asyncio.gather(*(rebuilt(settings, model) for model in ("sessions", "drops")))
            assert await all_rows(postgres.url) == before
            await edge.delete_log()
        await write_days(nats_server, 1, begin=3)
        await folded(nats_server, postgres)
        assert await verified(settings), "two logs, one after the other"


async def test_rows_that_are_older_than_the_log_are_not_thrown_away_in_silence(
    nats_server: NatsServer, postgres: Postgres
):
    async with served(nats_server, postgres, days=2):
        settings, before = settings_of(nats_server, postgres), await all_rows(postgres.url)
        async with EdgeDouble(nats_server.url, "nobody", silent=True) as edge:
            await edge.purge(keep=9)
        with pytest.raises(NotRebuilt, match=r"rows of sessions, .* are older than the log"):
            await rebuilt(settings, "sessions")
        await execute(
            postgres.url,
            "INSERT INTO log_archive SELECT epoch, 1, now() - interval '1 hour', 'w', '' FROM projections LIMIT 1",
            f"INSERT INTO erasures VALUES ('{user_digest('dan')}', now())",
        )  # of all the messages that went, the one that was rewritten is there
        with pytest.raises(NotRebuilt, match=r"\d+ messages are neither in the archive nor in the log"):
            await rebuilt(settings, "sessions")
        assert await all_rows(postgres.url) == before
        await rebuilt(settings, "sessions", forget=True)
        left = await rows_of(postgres.url, "sessions")
        assert left and not any("d0-" in row for row in left)
        await write_days(nats_server, 1, begin=2)
        await folded(nats_server, postgres)
