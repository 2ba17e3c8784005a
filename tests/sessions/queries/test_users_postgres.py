"""Which users were seen in a period."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries import users_postgres
from services.sessions.queries.periods import Period
from services.sessions.queries.users_postgres import Users
from services.sessions.rows import Session, UserDevice
from tests.sessions.plans import ExplainingPool
from tests.sessions.rows_by_hand import EPOCH, Row, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = 86_400_000


@pytest.fixture
async def users(postgres: Postgres) -> AsyncIterator[Users]:
    async with Pool(postgres.url, 1) as pool:
        yield Users(pool)


def stays(user: str, *days: float, open: bool = False) -> list[Row]:
    """A user with a session of an hour on each of these days; the last one is `open`, or over."""
    began = [round(day * DAY) for day in days]
    ended = [at + DAY // 24 for at in began]
    last = began[-1] if open else ended[-1]
    return [
        *(
            Session(f"{user}-{at}", user, "", "js", "1", "edge-1", "i1", f"{user}-{at}", 1, at, None, end)
            for at, end in zip(began, [*ended[:-1], None if open else ended[-1]], strict=True)
        ),
        UserDevice(user, "", "js", "1", began[0], last, len(days), len(days)),
    ]


def period(since: float, until: float) -> Period:
    return Period(EPOCH + timedelta(days=since), EPOCH + timedelta(days=until))


async def seen(users: Users, since: float, until: float, limit: int = 10) -> list[str]:
    return [one.user for one in await users.seen(period(since, until), limit)]


async def test_those_who_came_or_were_last_seen_in_the_period_the_latest_first(postgres: Postgres, users: Users):
    await insert(
        postgres.url,
        *stays("always", 10, 20, 30),
        *stays("around", 10, 30),
        *stays("left", 19.99),
        *stays("there", 20.5, open=True),
        *stays("", 20.1),
    )
    assert await seen(users, 20, 21) == ["there", "left", "always"], "and not who came before and after only"
    assert await seen(users, 0, 31) == ["always", "around", "there", "left"]
    (now,) = [one for one in await users.seen(period(20, 21), 10) if one.user == "there"]
    assert (now.connected, now.sessions) == (1, 1)
    assert await seen(users, 40, 41) == []


async def test_a_limit_gives_the_latest_however_often_others_came(
    postgres: Postgres, users: Users, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(users_postgres, "_ROWS_OF_A_USER", 1)
    often = [stays("often", *[1 + n / 100 for n in range(40)]), stays("ann", 1.05), stays("bob", 1.01), stays("cat", 1)]
    await insert(postgres.url, *[row for rows in often for row in rows])
    assert await seen(users, 1, 2, limit=3) == ["often", "ann", "bob"]
    assert await seen(users, 1, 1.2, limit=2) == ["often", "ann"]


async def test_few_users_who_come_often_among_many_anonymous_clients_are_found_without_reading_all_sessions(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(users_postgres, "_ROWS_OF_A_USER", 1)
    database = await asyncpg.connect(postgres.url)
    await database.execute("""
        INSERT INTO sessions SELECT 's' || n, CASE WHEN n % 2 = 0 THEN 'u' || n / 2 % 20 ELSE '' END, '', 'js', '1',
            'e', 'i', 's' || n, 1, '1970-01-02'::timestamptz + n * interval '10 s', NULL,
            '1970-01-02'::timestamptz + n * interval '10 s', NULL, 1000, '', '', ''
        FROM generate_series(1, 8000) AS n""")
    await database.execute("""
        INSERT INTO user_devices SELECT user_id, '', 'js', '1', min(opened_at), max(ended_at) + interval '9 days',
            count(*), count(*) FROM sessions GROUP BY user_id""")
    await database.execute("ANALYZE")
    await database.close()
    async with ExplainingPool(postgres.url) as pool:
        found = await Users(pool).seen(period(0, 3), 30)
    assert [one.user for one in found] == [f"u{n % 20}" for n in range(20, 0, -1)]
    assert sum(plan.rows for plan in pool.plans[:-1]) < 1000, [(plan.statement, plan.rows) for plan in pool.plans]


async def test_the_latest_are_found_where_too_many_users_came_to_go_from_one_to_the_next(
    postgres: Postgres, users: Users, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(users_postgres, "_ROWS_OF_A_USER", 1)
    monkeypatch.setattr(users_postgres, "_EACH_UP_TO", 0)
    others = [stays(f"u{n:02}", 1 + n / 1000) for n in range(8)]
    often = [stays("often", *[1.5 + n / 1000 for n in range(80)])]
    await insert(postgres.url, *[row for rows in (*often, *others) for row in rows])
    assert await seen(users, 1, 1.9, limit=3) == ["often", "u07", "u06"]
