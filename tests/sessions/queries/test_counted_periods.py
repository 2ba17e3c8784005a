"""What counts are of is what the answer says that it covers: whole minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proto.events import BY_NETWORK, Closed, Opened, Refused
from services.chassis.postgres.pool import Pool
from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool
from services.sessions.api.session_counts import SessionCounts
from services.sessions.queries.drops_postgres import DropCounts
from services.sessions.queries.periods import HOUR_S, MINUTE_S, Period
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.versions_postgres import VersionCounts, VersionQueries
from tests.sessions.api.serving import Log
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = datetime(2026, 11, 28, tzinfo=UTC)
EVERY_S = 20
"""A client is refused, and another connects and is dropped, so often, while anybody is there at all."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-28T{text}+00:00")


BUSY = [Period(at(since), at(until)) for since, until in (("00:28", "00:32"), ("01:20", "01:40"), ("08:39", "08:43"))]


def thrice_a_minute() -> list[Any]:
    facts: list[Any] = []
    for second in range(0, 9 * HOUR_S, EVERY_S):
        if not any(busy.since <= DAY + timedelta(seconds=second) < busy.until for busy in BUSY):
            continue
        moment, name = int(DAY.timestamp() + second) * 1000, f"c{second}"
        facts.append(Opened(at=moment, connection=name, user=name, client_name="web", client_version="1"))
        facts.append(Closed(at=moment + 500, connection=name, code=1006, by=BY_NETWORK))
        facts.append(Refused(at=moment, action="connect", code=109, reason="", user=name, count=1))
    return facts


@pytest.fixture
async def pool(postgres: Postgres) -> AsyncIterator[ReadPool]:
    async with Pool(postgres.url, 1) as writing, ReadPool(postgres.url, 1) as reading:
        await Log(writing).write(*thrice_a_minute())
        yield reading


def facts_in(period: Period) -> int:
    """The times of that kind in a period of whole minutes."""
    shared = (min(busy.until, period.until) - max(busy.since, period.since) for busy in BUSY)
    return sum(max(0, round(each.total_seconds())) // EVERY_S for each in shared)


@pytest.mark.parametrize(
    ("since", "until", "counted"),
    [
        ("01:29:35", "01:29:36", ("01:29", "01:30")),
        ("01:29:59.999", "01:30:00.001", ("01:29", "01:31")),
        ("01:29", "01:30", ("01:29", "01:30")),
        ("00:29:30", "08:40:10", ("00:29", "08:41")),  # with a curve by hour
    ],
)
async def test_an_answer_says_which_minutes_it_counts_and_counts_nothing_else(
    pool: ReadPool, since: str, until: str, counted: tuple[str, str]
) -> None:
    asked, expected = Period(at(since), at(until)), Period(*map(at, counted))
    count = facts_in(expected)
    drops = await DropCounts(pool).ask(asked)
    refusals = await RefusalCounts(pool).ask(asked)
    assert (drops.period, drops.total) == (refusals.period, refusals.total) == (expected, count)
    for curve in (drops.curve, refusals.curve):
        assert sum(point.count for point in curve) == count, "also in the first and the last hour"
    assert drops.groups[0].count == refusals.groups[0].count == count
    by_user = await RefusalCounts(pool).ask(asked, "user")
    assert sum(group.count for group in by_user.groups) == min(count, 200)
    versions = await VersionQueries(pool).ask(asked)
    (web,) = versions.versions
    assert (versions.period, web.during) == (expected, VersionCounts(count, count, count))
    assert versions.before.until == versions.period.since and web.before.opened == facts_in(versions.before)


async def test_counts_of_openings_are_of_minutes_and_those_of_sessions_exact(pool: ReadPool) -> None:
    asked = Period(at("01:29:35"), at("01:29:45"))
    counts = SessionCounts(pool)
    for interval in (None, MINUTE_S):
        openings = await counts.ask(Filters(), ("client_version",), interval, asked)
        assert (openings.period, openings.source) == (Period(at("01:29"), at("01:30")), "openings")
        assert [(one.at, one.count) for one in openings.counts] == [(at("01:29"), 3)]
    sessions = await counts.ask(Filters(), ("state",), None, asked)
    assert (sessions.period, sessions.source) == (asked, "sessions")
    assert [one.count for one in sessions.counts] == [1]
    long = Period(at("00:00") - timedelta(days=300), at("09:00"))
    assert sum(one.count for one in (await counts.ask(Filters(), ("edge",), None, long)).counts) == facts_in(long)
