"""Which users were seen in a period."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries import users_postgres
from services.sessions.queries.periods import Period
from services.sessions.queries.places import UserPlace
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


async def by_pages(users: Users, asked: Period, limit: int) -> list[str]:
    """The users of all pages."""
    found: list[str] = []
    after = None
    while page := await users.seen(asked, limit, after):
        found += [one.user for one in page]
        after = UserPlace(page[-1].came_at, page[-1].user)
    return found


async def test_those_who_were_there_in_the_period_and_of_them_those_who_came_last_first(
    postgres: Postgres, users: Users
):
    await insert(
        postgres.url,
        *stays("again", 10, 20, 30),
        *stays("around", 10, 30),
        *stays("left", 19.99),
        *stays("there", 20.5, open=True),
        *stays("all the time", 3, open=True),
        *stays("all the time, and once more", 2, 20.2, open=True),
        *stays("", 4, 20.1, open=True),
    )
    expected = ["there", "all the time, and once more", "again", "left", "all the time"]
    assert await seen(users, 20, 21) == expected, "and not who came before and after only"
    assert await seen(users, 0, 31) == ["around", "again", *expected[:2], "left", "all the time"]
    (now,) = [one for one in await users.seen(period(20, 21), 10) if one.user == "there"]
    assert (now.connected, now.sessions, now.came_at) == (1, 1, EPOCH + timedelta(days=20.5))
    assert await seen(users, 40, 41) == ["there", "all the time, and once more", "all the time"], "they still are"
    for limit in (1, 2, 3, 4, 5, 6):
        assert await by_pages(users, period(20, 21), limit) == expected, limit


async def test_who_stayed_for_an_hour_a_day_or_a_month_was_there_until_the_end(postgres: Postgres, users: Users):
    lengths = {"minutes": 0.01, "hours": 0.5, "days": 3, "weeks": 20}
    for user, days in lengths.items():
        began, ended = round(30 * DAY), round((30 + days) * DAY)
        session = Session(user, user, "", "js", "1", "edge-1", "i1", user, 1, began, None, ended)
        await insert(postgres.url, session, UserDevice(user, "", "js", "1", began, ended, 1, 1))
    for user, days in lengths.items():
        assert user in await seen(users, 30 + 0.9 * days, 30 + 0.95 * days)
        assert user not in await seen(users, 30 + 1.001 * days, 80)
        assert user not in await seen(users, 29, 30)


async def test_pages_have_each_user_once_who_came_together_or_often(
    postgres: Postgres, users: Users, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(users_postgres, "_ROWS_OF_A_USER", 1)
    monkeypatch.setattr(users_postgres, "_EACH_UP_TO", 0)
    rows = [stays(f"u{n % 9}", *[1 + n // 5 / 100, 1.5 + n // 3 / 100], open=n % 4 == 0) for n in range(9)]
    rows += [stays(f"v{n}", n // 3 / 100, open=True) for n in range(9)]
    await insert(postgres.url, *[row for of_user in rows for row in of_user])
    whole = await seen(users, 1, 1.9, limit=100)
    assert len(whole) == 18 and whole == sorted(whole[:9], key=lambda user: (int(user[1]) // 3, user), reverse=True) + [
        f"v{n}" for n in range(8, -1, -1)
    ]
    for limit in (1, 2, 5, 7):
        assert await by_pages(users, period(1, 1.9), limit) == whole, limit


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
