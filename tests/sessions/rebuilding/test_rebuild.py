"""Read models are rebuilt beside a running service, as they were; whatever stops that leaves them alone."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import asyncpg
import pytest

from services.sessions.rebuilding.model_tables import MODELS
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
from tests.sessions.running import start, variables
from tests.support.eventually import eventually
from tests.support.processes import Services
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


async def test_every_model_is_rebuilt_as_it_was(services: Services, nats_server: NatsServer, postgres: Postgres):
    async with served(services, nats_server, postgres) as service:
        settings = settings_of(nats_server, postgres)
        before, objects = await all_rows(postgres.url), await fetch(postgres.url, OBJECTS)
        assert [table for table, rows in before.items() if not rows] == [], "there is something of every model"
        for model in (*MODELS, "all"):
            await rebuilt(settings, model)
            assert await all_rows(postgres.url) == before, model
        assert await fetch(postgres.url, OBJECTS) == objects, "with the same partitions, indexes and sequences"
        assert await verified(settings)
        await write_days(nats_server, 1, begin=3)
        await folded(service)
        assert await verified(settings), "the service writes into the new tables"
        assert await schemas_beside(postgres.url) == 0


async def test_it_is_a_command(services: Services, nats_server: NatsServer, postgres: Postgres):
    service = await start(services, nats_server, postgres).ready(60)
    done = await service.command("rebuild", "drops")
    assert done.returncode == 1 and "has not folded anything yet" in done.stderr
    await write_days(nats_server, 2)
    await folded(service)
    before = await rows_of(postgres.url, "drops")
    await execute(postgres.url, "DELETE FROM drops", "CREATE ROLE reporting", "GRANT SELECT ON drops TO reporting")
    done = await service.command("rebuild", "drops")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("archive and log reach back to: ")
    assert done.stdout.splitlines()[1].startswith("rebuilt drops from ")
    assert await rows_of(postgres.url, "drops") == before
    assert await fetch(postgres.url, "SELECT has_table_privilege('reporting', 'drops', 'SELECT')") == ["True"]
    assert (await service.command("rebuild", "nonsense")).returncode == 2


async def test_who_may_make_no_schema_is_told(services: Services, nats_server: NatsServer, postgres: Postgres):
    async with served(services, nats_server, postgres, days=1):
        ordinary = postgres.url
        url = await as_ordinary_user(ordinary)
        name = url.partition("//")[2].partition(":")[0]
        await execute(
            ordinary,
            f'ALTER DATABASE "{ordinary.rpartition("/")[2]}" OWNER TO CURRENT_USER',
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        )
        environ = variables(nats_server, postgres, POSTGRES_URL=url)
        command = [sys.executable, "-m", "services.sessions", "rebuild", "all"]
        done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "GRANT CREATE ON DATABASE" in done.stderr, done.stderr


async def test_facts_that_arrive_meanwhile_are_in_it(services: Services, nats_server: NatsServer, postgres: Postgres):
    """Somebody reads the tables for a while, so that they cannot be swapped; the service folds on."""
    async with served(services, nats_server, postgres, days=1) as service:
        settings = settings_of(nats_server, postgres)
        reader = await asyncpg.connect(postgres.url)
        try:
            reading = reader.transaction()
            await reading.start()
            await reader.fetch("SELECT count(*) FROM sessions")
            work = asyncio.create_task(rebuilt(settings, "all"))
            await eventually(lambda: is_ready_to_swap(postgres.url), 60)
            await write_days(nats_server, 2, begin=1)
            await folded(service)
            assert not work.done()
            await reading.rollback()
        finally:
            await reader.close()
        await work
        assert await verified(settings)
        assert any("d2-ann" in row for row in await rows_of(postgres.url, "sessions"))


async def is_ready_to_swap(url: str) -> bool:
    """Whether a rebuild waits for the lock of a live table."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'public.sessions'::regclass"
    return await fetch(url, waiting) != ["0"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
async def test_one_that_is_ended_changes_nothing_and_the_next_one_clears_up(
    services: Services, nats_server: NatsServer, postgres: Postgres, end: signal.Signals
):
    async with served(services, nats_server, postgres, days=1) as service:
        before = await all_rows(postgres.url)
        reader = await asyncpg.connect(postgres.url)
        try:
            async with reader.transaction():
                await reader.fetch("SELECT count(*) FROM sessions")
                command = [sys.executable, "-m", "services.sessions", "rebuild", "all"]
                process = await asyncio.create_subprocess_exec(
                    *command, env=variables(nats_server, postgres), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                )
                try:
                    await eventually(lambda: is_ready_to_swap(postgres.url), 60)
                    process.send_signal(end)
                    _, said = await process.communicate()
                finally:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
        finally:
            await reader.close()
        assert b"Traceback" not in said
        if end == signal.SIGINT:
            assert (process.returncode, said.splitlines()[-1][:11]) == (130, b"interrupted")
        assert await schemas_beside(postgres.url) == (1 if end == signal.SIGKILL else 0)
        assert await all_rows(postgres.url) == before
        await write_days(nats_server, 1, begin=1)
        await folded(service)
        settings = settings_of(nats_server, postgres)
        assert await verified(settings)
        await rebuilt(settings, "all")
        assert await verified(settings) and await schemas_beside(postgres.url) == 0


async def test_the_archive_alone_is_enough(services: Services, nats_server: NatsServer, postgres: Postgres):
    async with served(services, nats_server, postgres, SESSIONS_ARCHIVE="true") as service:
        settings, before = settings_of(nats_server, postgres), await all_rows(postgres.url)
        async with EdgeDouble(nats_server.url, "nobody", silent=True) as edge:
            await edge.purge(keep=1)
            await rebuilt(settings, "all")
            assert await all_rows(postgres.url) == before
            await edge.delete_log()
        await write_days(nats_server, 1, begin=3)
        await folded(service)
        await asyncio.gather(*(rebuilt(settings, model) for model in ("sessions", "drops")))
        assert await verified(settings), "two logs, one after the other"


async def test_rows_that_are_older_than_the_log_are_not_thrown_away_in_silence(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    async with served(services, nats_server, postgres, days=2) as service:
        settings, before = settings_of(nats_server, postgres), await all_rows(postgres.url)
        async with EdgeDouble(nats_server.url, "nobody", silent=True) as edge:
            await edge.purge(keep=9)
        with pytest.raises(NotRebuilt, match=r"rows of sessions, .* are older than that"):
            await rebuilt(settings, "sessions")
        assert await all_rows(postgres.url) == before
        await rebuilt(settings, "sessions", forget=True)
        left = await rows_of(postgres.url, "sessions")
        assert left and not any("d0-" in row for row in left)
        await write_days(nats_server, 1, begin=2)
        await folded(service)
