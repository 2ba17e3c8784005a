"""A log and live tables with something of every read model in them, and the commands that rebuild and compare."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg

from proto import subjects
from proto.events import (
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    EventBatch,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
)
from services.chassis.nats.streams import stream_state
from services.chassis.postgres.pool import Pool
from services.sessions.app import Sessions
from services.sessions.projection import NAME
from services.sessions.rebuilding.beside_postgres import Beside, schema_beside
from services.sessions.rebuilding.model_tables import ALL, tables_of
from services.sessions.rebuilding.rebuild import rebuild
from services.sessions.rebuilding.verify import verify
from services.sessions.rebuilding.workshop import workshop
from services.sessions.settings import SessionsSettings, from_environ
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import variables
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers import NatsServer, Postgres

HOUR_MS = 3_600_000


def day(name: str, at: int) -> Iterator[list[SessionEvent]]:
    """A day of an edge and of three of its clients, in batches, from `at` (Unix milliseconds) on.

    On d0 a connection stays open: the edge is lost then."""
    ann, bob, eve = (f"{name}-{user}" for user in ("ann", "bob", "eve"))
    yield [EdgeStarted(at=at, software="1.2")]
    yield [
        Opened(at=at + 1, connection=ann, user="ann", session_key="k", client_name="js", client_version="1"),
        Opened(at=at + 2, connection=bob, user="bob", client_name="go", client_version="7", address="10.0.0.0/24"),
        Subscribed(at=at + 3, connection=ann, channel="news"),
        Subscribed(at=at + 4, connection=bob, channel="news", recovered=True, recovered_from=4, recovered_count=2),
        Refused(at=at + 5, action="subscribe", code=103, reason="permission denied", user="bob", connection=bob),
    ]
    yield [
        Lagged(at=at + 10, connection=bob, waiting=70_000),
        Closed(at=at + 11, connection=ann, code=1006, by="client"),
        CaughtUp(at=at + 12, connection=bob, lagged_ms=2),
        Refreshed(at=at + 13, connection=bob, expires_at=at + HOUR_MS),
    ]
    yield [
        Opened(at=at + 20, connection=f"{ann}-2", user="ann", session_key="k", client_name="js", client_version="2"),
        Unsubscribed(at=at + 21, connection=bob, channel="news", by="client"),
        Refused(at=at + 22, action="connect", code=3500, reason="invalid token", count=40, origin="https://a.example"),
    ]
    yield [Opened(at=at + 30, connection=eve, user="eve"), Closed(at=at + 31, connection=eve, code=3005, by="server")]
    if name != "d0":
        yield [EdgeDraining(at=at + 40), Closed(at=at + 41, connection=f"{ann}-2", code=1001, by="drain")]
    yield [Closed(at=at + 42, connection=bob, code=3001, by="drain"), EdgeStopped(at=at + 43)]


async def write_days(nats_server: NatsServer, days: int, begin: int = 0) -> None:
    """Stores so many days, one each second of the last ones. At the end the first edge hangs, and then is lost."""
    now = int(time.time() * 1000)
    for number in range(begin, begin + days):
        async with EdgeDouble(nats_server.url, f"edge-{number}", silent=True) as edge:
            for facts in day(f"d{number}", now + number * 1000):
                await edge.write(*facts)
    async with EdgeDouble(nats_server.url, "watch-edge-0", silent=True) as watch:
        watch.number = 4 * begin
        at = now + (begin + days) * 1000
        for fact in (EdgeLost, EdgeFound, EdgeLost):
            await watch.write(fact(at=at, instance="edge-0"))


async def rows_of(url: str, table: str) -> list[str]:
    """The rows of a table as texts, in order, without what only tells them apart."""
    database = await asyncpg.connect(url)
    try:
        rows = await database.fetch(f"SELECT (to_jsonb(t) - 'number')::text AS row FROM {table} t ORDER BY 1")
        if table == "timeline":
            rows = await database.fetch("SELECT to_jsonb(t)::text AS row FROM timeline t ORDER BY 1")
    finally:
        await database.close()
    return [row["row"] for row in rows]


async def all_rows(url: str) -> dict[str, list[str]]:
    """The rows of all tables of read models."""
    return {table.name: await rows_of(url, table.name) for table in tables_of(ALL)}


_END_ITS_MAKER = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)"""


async def schemas_beside(url: str) -> int:
    """How many schemas there are beside the live one."""
    database = await asyncpg.connect(url)
    try:
        question = "SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, 'fairlead_beside_')"
        return int(await database.fetchval(question))
    finally:
        await database.close()


async def killed_rebuild(url: str, *facts: SessionEvent) -> None:
    """Leaves behind the schema of a command that had folded these facts when it was killed."""
    async with schema_beside(url) as beside, Pool(beside.url, 1) as pool:
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), [EventBatch("e", "i", 1, list(facts))])
        await end_its_maker(url, beside)


async def end_its_maker(url: str, beside: Beside) -> None:
    """Ends the connection that holds the lock of this schema."""
    database = await asyncpg.connect(url)
    try:
        await database.execute(_END_ITS_MAKER, beside.beside)
    finally:
        await database.close()


async def folded(nats_server: NatsServer, postgres: Postgres) -> None:
    """Waits until everything in the log is in the tables."""
    database = await asyncpg.connect(postgres.url)
    try:
        async with linked(nats_server.url) as link:

            async def is_folded() -> bool:
                log = await stream_state(link, subjects.SESSIONS_STREAM)
                at = await database.fetchrow("SELECT epoch, sequence FROM projections WHERE name = $1", NAME)
                return log is not None and at is not None and (log.epoch, log.last) == (at["epoch"], at["sequence"])

            await eventually(is_folded, 60)
    finally:
        await database.close()


@asynccontextmanager
async def served(nats_server: NatsServer, postgres: Postgres, days: int = 3, **more: str) -> AsyncIterator[None]:
    """A service that has folded so many days, and folds on, within this process."""
    if days:
        await write_days(nats_server, days)
    settings = settings_of(nats_server, postgres, **more)
    application = Sessions(settings, lambda: settings).application()
    async with application.router.lifespan_context(application):
        await folded(nats_server, postgres)
        yield


def settings_of(nats_server: NatsServer, postgres: Postgres, **more: str) -> SessionsSettings:
    """The settings of commands that run in the process of the test."""
    return from_environ(variables(nats_server, postgres, **more))


async def rebuilt(settings: SessionsSettings, name: str, forget: bool = False) -> None:
    """Does what the command `rebuild` does."""
    async with workshop(settings) as opened:
        await rebuild(opened, name, forget)


async def verified(settings: SessionsSettings, name: str = ALL) -> bool:
    """Does what the command `verify` does: whether nothing differs."""
    async with workshop(settings) as opened:
        return await verify(opened, name)
