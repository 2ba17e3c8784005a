"""The sessions that are away are the same ones however many there are."""

from __future__ import annotations

import pytest

from services.sessions.api import away_search_postgres
from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool, SessionsReader
from services.sessions.queries.places import Place
from services.sessions.rows import Connection, Session
from tests.sessions.rows_by_hand import Row, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

HOUR = 3_600_000
START = 10_000 * HOUR
LONG_FROM_NOW = 4_000_000_000_000


def stay(number: int, *, is_away: bool) -> list[Row]:
    """Session `number` begins in that hour, on an edge of two."""
    name, edge, opened = f"s{number}", f"edge-{number % 2}", START + number * HOUR
    ended = opened + HOUR if is_away else None
    away_until, code = (LONG_FROM_NOW, 1006) if is_away else (None, None)
    return [
        Session(name, "ann", "", "js", "5.8", edge, "i", name, 1, opened, None, ended, away_until, code),
        Connection(name, name, edge, "i", opened, ended, code),
    ]


@pytest.mark.parametrize("many", [20_000, 5, 2], ids=["few", "many, mostly among the newest", "many, seldom there"])
async def test_each_page_has_the_newest_sessions_that_are_away(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, many: int
):
    monkeypatch.setattr(away_search_postgres, "MANY", many)
    there = {2, 9}
    await insert(postgres.url, *(row for number in range(12) for row in stay(number, is_away=number not in there)))
    pages, after = list[list[str]](), None
    async with ReadPool(postgres.url, 1) as pool:
        reader = SessionsReader(pool)
        while page := await reader.sessions(Filters(state="away"), 4, after):
            pages.append([one.id for one in page])
            after = Place(page[-1].opened_at, page[-1].id)
        on_an_edge = await reader.sessions(Filters(state="away", edge="edge-0"), 2)
    assert pages == [["s11", "s10", "s8", "s7"], ["s6", "s5", "s4", "s3"], ["s1", "s0"]]
    assert [one.id for one in on_an_edge] == ["s10", "s8"]
