"""The running service while PostgreSQL cannot be used as it should be: it waits, says why, reads, and goes on."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import asyncpg
import pytest

from deploy.processes.ports import free_port
from proto.events import Closed, Opened, SessionEvent, Subscribed
from services.sessions.schema_postgres import SCHEMA
from tests.sessions.database import as_ordinary_user, execute
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import API_KEY, ask, metric, request, sessions_of
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration


class State(NamedTuple):
    """What somebody does to the database, how it is undone, and what `/readyz` says meanwhile."""

    broken: str
    mended: str
    says: tuple[str, ...]
    servers: int = 1
    """How many servers `postgres.url` names: all but the last one are gone."""


READ_ONLY = (
    'ALTER DATABASE "{database}" SET default_transaction_read_only = on',
    'SET default_transaction_read_only = off; ALTER DATABASE "{database}" RESET default_transaction_read_only',
)
"""As a standby is, too: it refuses writes with the same error."""

STATES = {
    "read-only": State(*READ_ONLY, ("(25006)", "let postgres.url name the primary")),
    "only the standby is left": State(
        *READ_ONLY, ("no server of postgres.url takes writes now: promote one",), servers=2
    ),
    "full": State(
        """CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE 'could not extend file "base/1/2": No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER is_full BEFORE INSERT OR UPDATE ON connections FOR EACH STATEMENT EXECUTE FUNCTION is_full()""",
        "DROP TRIGGER is_full ON connections; DROP FUNCTION is_full",
        ("No space left on device (53100)", "make room on PostgreSQL's disk"),
    ),
    "no grant": State(
        "REVOKE INSERT, UPDATE ON connections FROM {user}",
        "GRANT INSERT, UPDATE ON connections TO {user}",
        ("permission denied for table connections (42501)", "grant the user of postgres.url"),
    ),
    "no table": State(
        "ALTER TABLE subscriptions RENAME TO gone",
        "ALTER TABLE gone RENAME TO subscriptions",
        ('"subscriptions" does not exist (42P01)', "undo what was changed by hand"),
    ),
    "no column": State(
        "ALTER TABLE log_writers RENAME number TO gone",
        "ALTER TABLE log_writers RENAME gone TO number",
        ('column "number" does not exist (42703)', "undo what was changed by hand"),
    ),
}


def facts(connection: str) -> list[SessionEvent]:
    now = int(time.time() * 1000)
    return [
        Opened(at=now, connection=connection, user=connection),
        Subscribed(at=now, connection=connection, channel="news"),
        Closed(at=now, connection=connection, code=1000),
    ]


def start(services: Services, nats_server: NatsServer, url: str) -> ServiceProcess:
    variables = {"NATS_URL": nats_server.url, "POSTGRES_URL": url, "HTTP_API_KEY": API_KEY}
    return services.start("sessions", {f"FAIRLEAD_{name}": value for name, value in variables.items()})


async def unready(service: ServiceProcess, *because: str) -> None:
    async with http_client() as http:
        answer = await http.get(f"{service.url}/readyz", timeout=5)
    assert answer.status_code == 503
    for part in because:
        assert part in answer.text, answer.text


@pytest.mark.parametrize("name", STATES)
async def test_it_waits_until_the_database_is_mended_and_then_goes_on_by_itself(
    services: Services, nats_server: NatsServer, postgres: Postgres, name: str
):
    url = await as_ordinary_user(postgres.url)
    names = {"user": url.partition("//")[2].partition(":")[0], "database": url.rpartition("/")[2]}
    state = STATES[name]
    own = url.rpartition("@")[2].partition("/")[0]
    gone = [f"127.0.0.1:{free_port()}" for _ in range(state.servers - 1)]
    service = await start(services, nats_server, url.replace(own, ",".join([*gone, own]))).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(*facts("c1"))
        await eventually(lambda: one_more(service, 1))
        cut_off = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{names['user']}'"
        await execute(postgres.url, state.broken.format_map(names), cut_off)
        await edge.write(*facts("c2"))  # the log keeps what edges write
        await eventually(lambda: unready(service, *state.says))
        async with http_client() as http:
            assert (await http.get(f"{service.url}/livez", timeout=5)).status_code == 200
        assert len(await sessions_of(service)) == 1, "questions are answered"
        await execute(postgres.url, *state.mended.format_map(names).split("; "))  # and no connection is cut off
        await eventually(lambda: one_more(service, 2))
        await service.ready()
    assert await metric(service, "fairlead_sessions_dead_letters_total") == 0
    assert (await ask(service, "/sessions/c2"))["end_code"] == 1000
    assert service.log().count("cannot be followed now") <= 3, "not a line for each retry"
    assert await service.stop() == 0


class Held(NamedTuple):
    """A timeout of PostgreSQL that ends what waits for a lock, and what `/readyz` says then."""

    setting: str
    says: tuple[str, ...]


TIMEOUTS = {
    "its lock_timeout": Held("lock_timeout", ("(55P03)", "a lock is held for too long", "pg_stat_activity")),
    "its statement_timeout": Held("statement_timeout", ("(57014)", "raise statement_timeout")),
}


@pytest.mark.parametrize("name", TIMEOUTS)
async def test_a_lock_that_somebody_holds_is_said_and_waited_for(
    services: Services, nats_server: NatsServer, postgres: Postgres, name: str
):
    url = await as_ordinary_user(postgres.url)
    user = url.partition("//")[2].partition(":")[0]
    await execute(postgres.url, f"ALTER ROLE {user} SET {TIMEOUTS[name].setting} = '300ms'")
    service = await start(services, nats_server, url).ready()
    somebody = await asyncpg.connect(postgres.url)
    async with EdgeDouble(nats_server.url, "i1") as edge:
        async with somebody.transaction():
            await somebody.execute("LOCK TABLE connections IN EXCLUSIVE MODE")
            await edge.write(*facts("c1"))
            await eventually(lambda: unready(service, *TIMEOUTS[name].says))
            assert await sessions_of(service) == [], "questions are answered"
        await eventually(lambda: one_more(service, 1))
        await service.ready()
    await somebody.close()
    assert await metric(service, "fairlead_sessions_dead_letters_total") == 0


async def test_questions_that_take_long_hold_up_no_facts(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres.url).ready()
    somebody = await asyncpg.connect(postgres.url)
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(Opened(at=1, connection="c1"))
        await eventually(lambda: one_more(service, 1))
        async with somebody.transaction():
            await somebody.execute("LOCK TABLE subscriptions")
            questions = [asyncio.create_task(request(service, "/sessions/c1")) for _ in range(12)]
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

            async def all_wait() -> None:
                assert await somebody.fetchval(waiting) >= 5

            await eventually(all_wait)
            await edge.write(Opened(at=2, connection="c2"))

            async def folded() -> None:
                assert await metric(service, "fairlead_sessions_events_applied_total") == 2

            await eventually(folded, within_s=5)
        assert {200} == {answer.status_code for answer in await asyncio.gather(*questions)}
    await somebody.close()


async def one_more(service: ServiceProcess, count: int) -> None:
    assert len(await sessions_of(service)) == count


async def test_tables_without_their_revision_are_waited_for(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    await execute(postgres.url, "DELETE FROM alembic_version")
    service = start(services, nats_server, postgres.url)
    await eventually(lambda: unready(service, "already exists (42P07)", "restore the table of the revisions"))
    await execute(postgres.url, f"INSERT INTO alembic_version VALUES ('{SCHEMA.head}')")
    await service.ready()
