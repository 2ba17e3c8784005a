"""The sessions of a channel are the same ones however they are searched for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from services.sessions.api import channel_search_postgres
from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool, SessionsReader
from services.sessions.queries import channel_presence_postgres
from services.sessions.queries.places import Place
from services.sessions.rows import Connection, Session, Subscription
from tests.sessions.rows_by_hand import EPOCH, Row, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

HOUR = 3_600_000
START = 10_000 * HOUR


def stay(number: int, *subscribed: int) -> list[Row]:
    """Session `number` begins in that hour; it subscribes so many hours later, by one more connection each time."""
    names = [f"s{number}" + f"-{place}" * (place > 0) for place in range(max(1, len(subscribed)))]
    rows: list[Row] = [
        Session(names[0], "ann", "", "js", "5.8", "e", "i", names[-1], len(subscribed), START + number * HOUR, None)
    ]
    for place, (name, hours) in enumerate(zip(names, subscribed, strict=False)):
        opened = START + (number + place) * HOUR
        rows.append(Connection(name, f"s{number}", "e", "i", opened))
        rows.append(Subscription(name, "news", opened, START + (number + hours) * HOUR))
    return rows


@pytest.mark.parametrize(
    ("many", "for_each"), [(0, (4, 32)), (20_000, (4, 32)), (20_000, (0, 1)), (3, (0, 1))],
    ids=["all sessions", "the newest", "more and more", "more, then all"],
)  # fmt: skip
async def test_each_page_has_the_newest_sessions_of_the_channel(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, many: int, for_each: tuple[int, int]
):
    monkeypatch.setattr(channel_search_postgres, "MANY", many)
    monkeypatch.setattr(channel_search_postgres, "_FOR_EACH", for_each)
    rows = [row for number in range(6) for row in stay(number, *([1] if number % 2 else [0, 9]))]
    await insert(postgres.url, *rows, *stay(9)[:1])
    pages, after = list[list[str]](), None
    async with ReadPool(postgres.url, 1) as pool:
        reader = SessionsReader(pool)
        while page := await reader.sessions(Filters(channel="news"), 4, after):
            pages.append([one.id for one in page])
            after = Place(page[-1].opened_at, page[-1].id)
        of_a_period = await reader.sessions(Filters(channel="news", since=EPOCH + timedelta(hours=10_004)), 4)
    assert pages == [["s5", "s4", "s3", "s2"], ["s1", "s0"]]
    assert [one.id for one in of_a_period] == ["s5", "s4"]


@pytest.mark.parametrize("many", [20_000, 3], ids=["its subscriptions", "all sessions"])
async def test_pages_of_a_moment_have_those_who_were_in_the_channel_then(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, many: int
):
    monkeypatch.setattr(channel_presence_postgres, "MANY", many)
    rows = [row for number in range(9) for row in stay(number, 8 - number if number != 3 else 30)]
    await insert(postgres.url, *rows)
    for row in (*stay(10, 5), *stay(11, 5)):
        await insert(postgres.url, replace(row, edge="e2") if isinstance(row, Session | Connection) else row)
    async with ReadPool(postgres.url, 1) as pool:
        reader = SessionsReader(pool)

        async def pages(limit: int, **conditions: Any) -> list[str]:
            found, after = list[str](), None
            filters = Filters(channel="news", at=EPOCH + timedelta(hours=10_020), **conditions)
            while page := await reader.sessions(filters, limit, after):
                assert len(page) <= limit
                found += [one.id for one in page]
                after = Place(page[-1].opened_at, page[-1].id)
            return found

        for limit in (1, 2, 4, 20):
            assert await pages(limit) == ["s11", "s10", "s8", "s7", "s6", "s5", "s4", "s2", "s1", "s0"]
            assert await pages(limit, edge="e2") == ["s11", "s10"]
            since, until = EPOCH + timedelta(hours=10_002), EPOCH + timedelta(hours=10_007)
            assert await pages(limit, since=since, until=until) == ["s6", "s5", "s4", "s2"]
