"""The month of sessions that `perf queries` makes, and one small real run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from perf.errors import RunFailed
from perf.load.session_month import DAYS, OF_A_DAY, PARTITIONED
from perf.modes.queries import Asked, QueryFigures, _ask
from perf.report.distribution import distribution
from perf.servers import session_rows
from perf.servers.postgres import running_postgres
from perf.servers.session_questions import Chance, Question
from tests.perf.command import perf


def test_each_table_that_is_partitioned_gets_rows_of_each_day() -> None:
    assert sorted(table.name for table in OF_A_DAY) == sorted(PARTITIONED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def month() -> AsyncIterator[str]:
    """The address of perf's own PostgreSQL, filled with a small month: that takes seconds, whatever its size."""
    async with running_postgres(session_rows.SETTINGS) as database:
        assert not await session_rows.is_filled(database.url)
        seen: list[float] = []
        await session_rows.fill(database.url, 100 * DAYS, seen.append)
        assert seen == sorted(seen) and 0.5 < seen[-1] <= 1
        yield database.url


@pytest.mark.timeout(180)
async def test_a_month_has_all_kinds_of_sessions_and_its_counts_agree(month: str) -> None:
    assert await session_rows.is_filled(month) and await session_rows.size_bytes(month) > 10**6
    rows = await session_rows.rows_of(month, PARTITIONED)
    assert min(rows.values()) > 0, rows
    database = await asyncpg.connect(month)
    try:
        kinds = await database.fetchrow(
            """SELECT count(*) FILTER (WHERE ended_at IS NULL) AS open,
            count(*) FILTER (WHERE ended_at - opened_at > interval '1 day') AS long,
            count(*) FILTER (WHERE connections > 1) AS resumed FROM sessions"""
        )
        assert kinds is not None and min(kinds) > 0
        for table, column in (("openings", "opened_at"), ("drops", "closed_at")):
            counted = await database.fetchval(f"SELECT sum(count) FROM {table} WHERE width = 3600")
            same_day = (
                "count(closed_at) FILTER (WHERE closed_at < date_trunc('day', opened_at, 'UTC') + interval '1 day')"
            )
            of_rows = same_day if column == "closed_at" else f"count({column})"
            assert counted == await database.fetchval(f"SELECT {of_rows} FROM connections")
    finally:
        await database.close()
    picked = await session_rows.pick(month, 1)
    assert picked.sessions == (await session_rows.pick(month, 1)).sessions, "the same for the same seed"
    chance = Chance(picked, 1)
    assert chance.period().until <= picked.now and chance.user().startswith("user-")


@pytest.mark.timeout(180)
async def test_each_question_about_the_month_is_answered(month: str, tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "queries", "--database", month, "--runs", "1", "--bound", "60000")
    assert outcome.code == 0, outcome.output
    assert outcome.report["rows"]["sessions"] > 2_000
    names = [one["question"] for one in outcome.report["asked"]]
    assert {"who --at", "GET /sessions?state=away"} <= set(names)


def test_a_question_past_the_bound_is_named() -> None:
    fast, slow = distribution([0.01] * 100), distribution([0.01] * 98 + [0.06, 0.07])
    asked = [Asked("fast", fast, fast), Asked("slow", slow, fast), Asked("always slow", slow, slow)]
    figures = QueryFigures(bound_s=0.05, runs=100, fill_s=None, bytes_on_disk=1, rows={"sessions": 1}, asked=asked)
    assert (figures.slow, figures.slow_again) == (["slow", "always slow"], ["always slow"])
    assert "| slow | 10.0 | 60.0 | 70.0 | 10.0 | 10.0 |" in figures.table()


async def test_each_question_is_asked_twice_in_the_same_words_and_one_without_an_answer_is_named() -> None:
    now = datetime.now(UTC)
    chance = Chance(session_rows.Picked([], [], [], [], [], [], [now], now), 1)
    words = list[int]()

    async def ask() -> object:
        words.append(chance.random.randrange(10**9))
        if len(words) == 6:
            raise RunFailed("GET /sessions: 503")
        return None

    async def answer() -> object:
        return None

    asked = [await _ask(Question("broken", ask), 5, chance), await _ask(Question("well", answer), 5, chance)]
    assert words[0] == words[1] != words[2] == words[3] != words[4]
    figures = QueryFigures(bound_s=0.05, runs=5, fill_s=None, bytes_on_disk=1, rows={"sessions": 1}, asked=asked)
    assert asked[0].seconds.p50 is not None and asked[1].failed is None
    assert figures.failed == ["broken: GET /sessions: 503"] and "broken: GET /sessions: 503" in figures.table()
