"""How PostgreSQL finds the answers at ten million sessions: by an index, in the partitions that are meant.

The tables have few rows, of each day of a month. Their statistics say that there are as many as ten million sessions
bring (`ROWS_MORE`); the number of pages stays true, which makes reading everything look cheaper than it is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from typing import NamedTuple, cast

import asyncpg
import pytest

from perf.load.session_month import DAYS, PARTITIONED
from perf.servers import session_rows
from perf.servers.session_questions import Chance, Question, of_the_command_line
from services.sessions import retention_postgres as retention
from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool, SessionsReader
from services.sessions.api.session_counts import SessionCounts
from services.sessions.erasing_postgres import USERS_OF_DIGESTS, erase, erase_users
from services.sessions.privacy.channels_postgres import OwnChannels
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections
from services.sessions.privacy.tables_postgres import Tables
from services.sessions.queries.periods import DAY_S, Period
from services.sessions.queries.places import Place, RefusalPlace, UserPlace
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.present_counts_postgres import PresenceCounts
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.users_postgres import Users
from tests.sessions.plans import ExplainingPool, Plan, plan_of
from tests.support.servers import Postgres, PostgresServer, run_apart

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROWS_MORE = 1_000
SESSIONS = 10_000_000
GROWING = (*PARTITIONED, "user_devices", "channels")

SMALL = 5_000
"""Rows that may be read one after the other: PostgreSQL believes that a partition has no more, such as the default."""

MANY = SESSIONS // ROWS_MORE * 3 // 4
"""Rows that no statement reads: three quarters of the sessions that there are. Peaks of a week read half as many, a
hundred for each hour and those of a thousand channels, however many sessions there are."""

COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 ORDER BY attnum"

WEEKS = DAYS // 7
"""The partitions of each table, at the least."""


class Month(NamedTuple):
    """A month of sessions, of which PostgreSQL believes that there are ten million, and what to ask about."""

    database: asyncpg.Connection
    picked: session_rows.Picked


class Filled(NamedTuple):
    """A database with a month of sessions, of which each test has a copy."""

    original: Postgres
    picked: session_rows.Picked


@pytest.fixture(scope="module")
def filled(_postgres_server: PostgresServer) -> Iterator[Filled]:
    _postgres_server.start()
    original, picked = Postgres(_postgres_server), list[session_rows.Picked]()

    async def fill() -> None:
        await session_rows.fill(original.url, SESSIONS // ROWS_MORE, lambda share: None)
        picked.append(await session_rows.pick(original.url, 3))

    run_apart(fill())
    yield Filled(original, picked[0])
    original.close()


@pytest.fixture
async def month(postgres: Postgres, filled: Filled) -> AsyncIterator[Month]:
    postgres.url = filled.original.copy()
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute(
            f"UPDATE pg_class SET reltuples = reltuples * {ROWS_MORE} WHERE relnamespace = 'public'::regnamespace"
        )
        yield Month(connection, filled.picked)
    finally:
        await connection.close()


async def large(database: asyncpg.Connection) -> set[str]:
    """The tables and partitions that grow, and have more than `SMALL` rows."""
    rows = await database.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples > $1",
        SMALL,
    )
    return {row["relname"] for row in rows if row["relname"].startswith(GROWING)}


def read_whole(plan: Plan, tables: set[str]) -> list[str]:
    return [one.table for one in plan.scans if one.how in ("Seq Scan", "Sample Scan") and one.table in tables]


def of_filters(pool: ExplainingPool, chance: Chance) -> list[Question]:
    """What the API has and the command line has not."""
    reader, counts = SessionsReader(cast("ReadPool", pool)), SessionCounts(cast("ReadPool", pool))
    refusals = RefusalCounts(pool)
    then = chance.moment()
    hour, month = Period(then, then + timedelta(hours=1)), chance.month()
    earlier = Place(then - timedelta(minutes=5), "m")
    filters = {
        "all": Filters(),
        "open": Filters(state="open"),
        "away": Filters(state="away"),
        "ended": Filters(state="ended"),
        "user": Filters(user=chance.user()),
        "channel": Filters(channel="chat:7"),
        "edge": Filters(edge="edge-3"),
        "end_code": Filters(end_code=1006),
        "version": Filters(client_name="js", client_version="5.2"),
        "version of any client": Filters(client_version="5.2"),
        "address": Filters(address=chance.picked.addresses[0]),
        "period": Filters(since=then, until=hour.until),
        "at": Filters(at=then),
        "at, open": Filters(at=then, state="open"),
        "at, edge": Filters(at=then, edge="edge-3"),
        "at, channel": Filters(at=then, channel="chat:7"),
    }
    counted = [
        (("edge", "client_version"), Filters(), month),
        (("end_code",), Filters(), hour),
        (("user",), Filters(user=chance.user()), month),
        (("edge",), Filters(at=hour.until), hour),
        (("channel",), Filters(at=hour.until), hour),
        (("edge", "channel"), Filters(at=hour.until), hour),
        (("edge",), Filters(at=hour.until, channel="chat:7"), hour),
        (("edge",), Filters(at=hour.until, channel="chat:7", edge="edge-3"), hour),
    ]
    return [
        *(Question(name, partial(reader.sessions, which, 101)) for name, which in filters.items()),
        *(
            Question(f"counts by {group}", partial(counts.ask, which, group, DAY_S, period))
            for group, which, period in counted
        ),
        *(
            Question(f"who, a later page of {which}", partial(Presence(pool).at, then, 100, **which, after=earlier))
            for which in ({}, {"edge": "edge-3"}, {"channel": "chat:7"}, {"user": chance.user()})
        ),
        Question("users, a later page", partial(Users(pool).seen, month, 101, UserPlace(then, "u"))),
        Question("users who stayed", partial(Users(pool).seen, hour, 101, UserPlace(then - timedelta(seconds=1), "u"))),
        Question("refusals, a later page", partial(refusals.ones, month, 100, None, RefusalPlace(then, 9))),
        *(
            Question(f"refusals of a user by {by}", partial(refusals.ask, month, by, chance.user()))
            for by in ("user", "action")
        ),
        Question("who counts", partial(PresenceCounts(pool).at, then, "edge")),
        Question("who counts, channel", partial(PresenceCounts(pool).at, then, "edge", channel="chat:7")),
    ]


async def test_neither_a_question_nor_an_erasure_reads_a_table_that_grows_from_its_beginning_to_its_end(
    postgres: Postgres, month: Month
) -> None:
    tables = await large(month.database)
    assert len(tables) > 4 * WEEKS, "the statistics are believed"
    chance = Chance(month.picked, 3)
    pool = ExplainingPool(postgres.url)
    async with pool:
        whole: dict[str, list[str]] = {}
        many: dict[str, int] = {}
        for question in [*of_the_command_line(pool, chance), *of_filters(pool, chance)]:
            pool.plans.clear()
            await question.ask()
            assert pool.plans, question.name
            for plan in pool.plans:
                if found := read_whole(plan, tables):
                    whole[f"{question.name}: {plan.statement[:60]}"] = sorted(found)[:3]
                if plan.rows > MANY:
                    many[f"{question.name}: {plan.statement[:60]}"] = plan.rows
        assert (whole, many) == ({}, {})
        pool.plans.clear()
        for user in month.picked.users[:2]:
            await _erase(pool, user)
        erasing = [plan.statement for plan in pool.plans]
        assert {"DELETE FROM sessions", "DELETE FROM timeline"} <= {one.strip()[:20].strip() for one in erasing}
        others = [plan for plan in pool.plans if plan.statement != USERS_OF_DIGESTS]  # see `erasing_postgres`
        assert len(others) < len(pool.plans)
        assert [(plan.statement, read_whole(plan, tables)) for plan in others if read_whole(plan, tables)] == []
        assert max(plan.rows for plan in others) <= MANY
        async with pool.database() as asking:
            await asking.fetch("SELECT count(*) FROM sessions WHERE end_reason = 'of no index'")
        assert len(read_whole(pool.plans[-1], tables)) > WEEKS // 2, "it would have been seen"


async def _erase(pool: ExplainingPool, user: str) -> None:
    until = int(time.time() * 1000)
    person = Person(user)
    about = Connections(person, set())
    tables, own = Tables(pool, person), OwnChannels(person)
    await tables.count(about)
    await tables.open_sessions()
    async with pool.database() as database:
        await own.erase(database, await own.names(database, about) or [f"#{user}"], until, about)
        await erase_users(database, {user: until})
        await erase(database, [(person.digest, until)])


async def test_a_period_reads_its_own_partitions_alone(postgres: Postgres, month: Month) -> None:
    chance = Chance(month.picked, 3)
    until = month.picked.now - timedelta(days=9)
    two_days = Period(until - timedelta(days=1), until)
    chance.period = lambda: two_days  # type: ignore[method-assign]  # the same for each question
    pool = ExplainingPool(postgres.url)
    async with pool:
        for question in of_the_command_line(pool, chance):
            if question.name.startswith(("drops --by", "refusals", "versions", "channels --peak")) and (
                "month" not in question.name
            ):
                pool.plans.clear()
                await question.ask()
                for plan in pool.plans:
                    for name in ("drops", "openings", "refusal_counts", "refusals"):
                        # The period before it is asked for, too; and the default partition, where dates are unknown.
                        assert len(plan.tables(name)) <= 4, (question.name, sorted(plan.tables(name)))


async def test_what_retention_removes_row_by_row_is_found_by_key(month: Month) -> None:
    database = month.database
    for table, times in {
        "sessions": ["opened_at", "ended_at"],
        "connections": ["opened_at", "closed_at"],
        "subscriptions": ["opened_at", "since"],
        "timeline": ["at"],
    }.items():  # so old that they are in the default partitions
        of = [row["attname"] for row in await database.fetch(COLUMNS, table)]
        selected = ", ".join(f"{name} - interval '4 years'" if name in times else name for name in of)
        await database.execute(f"INSERT INTO {table} SELECT {selected} FROM (SELECT * FROM {table} LIMIT 2000) AS t")
        await database.execute(f"ANALYZE {table}_default")
        more = "UPDATE pg_class SET reltuples = reltuples * $2 WHERE oid = to_regclass($1)"
        await database.execute(more, f"{table}_default", ROWS_MORE)
    tables = await large(database)
    rows = await database.fetch(
        "SELECT s.id AS session, c.id AS connection FROM sessions s JOIN connections c ON c.session_id = s.id LIMIT 100"
    )
    sessions, connections = [row["session"] for row in rows], [row["connection"] for row in rows]
    before = month.picked.now - timedelta(days=9)
    asked: list[tuple[str, tuple[object, ...]]] = [
        (retention.OLD_SESSIONS, (before, 1_000)),
        (retention.CONNECTIONS_OF, (sessions, 1_000)),
        *((statement, (connections,)) for statement in retention.REMOVE_PARTS),
        *((retention.OLD.format(table=table, old=old), (before, 5_000)) for table, old in retention.ROWS),
    ]
    found: dict[str, list[str]] = {}
    for statement, values in asked:
        plan = await plan_of(database, statement, *values)
        if whole := [name for name in read_whole(plan, tables) if not statement.startswith(f"DELETE FROM {name} ")]:
            found[statement[:90]] = sorted(whole)[:3]
    assert found == {}
