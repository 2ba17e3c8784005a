"""How many were connected at a moment, by what they have in common."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries import present_counts_postgres
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.present_counts_postgres import PresenceCounts
from services.sessions.rows import Connection, Session, Subscription
from tests.sessions.queries.test_presence_postgres import DAY, HOUR, MINUTE, THEN, stay
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("many", [20_000, 0], ids=["few subscriptions", "many"])
async def test_counts_are_of_the_sessions_that_are_listed(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, many: int
):
    monkeypatch.setattr(present_counts_postgres, "LOOKED_UP", many)
    moved = Session("m1", "bob", "", "js", "6.0", "edge-2", "i2", "m2", 2, THEN - HOUR, None, address="192.0.2.1")
    gone = Session("g1", "eve", "", "js", "5.8", "edge-2", "i2", "g2", 2, THEN - HOUR, None)
    back = Session("b1", "joe", "", "js", "6.1", "edge-1", "i1", "b2", 2, THEN - HOUR, None, connected_at=THEN - MINUTE)
    await insert(
        postgres.url,
        *stay("short", -MINUTE, MINUTE),
        *stay("medium", -5 * HOUR, 1),
        *stay("long", -9 * DAY, 1),
        *stay("open", -20 * DAY, None),
        *stay("ended", -DAY, -1),
        *stay("later", 1, None),
        moved,
        Connection("m1", "m1", "edge-1", "i1", THEN - HOUR, THEN + 5, 1001, client_version="5.9", address="10.0.0.1"),
        Connection("m2", "m1", "edge-2", "i2", THEN + 9, client_version="6.0", address="192.0.2.1"),
        gone,
        Connection("g1", "g1", "edge-1", "i1", THEN - HOUR, THEN - 5, 1001),
        Connection("g2", "g1", "edge-2", "i2", THEN + 5),
        back,
        Connection("b1", "b1", "edge-2", "i2", THEN - HOUR, THEN - HOUR + 9, 1001, client_version="5.9"),
        Connection("b2", "b1", "edge-1", "i1", THEN - MINUTE, client_version="6.1"),
        Subscription("m1", "news", THEN - HOUR, THEN - 5),
        Subscription("b1", "news", THEN - HOUR, THEN - HOUR),
        Subscription("b2", "news", THEN - MINUTE, THEN - 5),
        Subscription("open", "news", THEN - 20 * DAY, THEN - 19 * DAY),
        Subscription("long", "news", THEN - 9 * DAY, THEN - 5, THEN),
    )
    at = EPOCH + timedelta(milliseconds=THEN)
    async with Pool(postgres.url, 1) as pool:
        listed = (await Presence(pool).at(at, 10)).sessions
        counts = PresenceCounts(pool)
        by_user = await counts.at(at, "user")
        by_version = await counts.at(at, "version")
        by_address = await counts.at(at, "address")
        of_edge = await counts.at(at, "edge", edge="edge-1")
        elsewhere = await counts.at(at, "edge", edge="edge-2")
        in_news = await counts.at(at, "version", channel="news")
        addresses_in_news = await counts.at(at, "address", channel="news")
    assert sorted(str(one.user) for one in by_user.groups) == sorted(one.user for one in listed)
    assert by_user.total == len(listed) == 6 and not by_user.more
    assert [(one.client_version, one.count) for one in by_version.groups] == [("5.8", 4), ("5.9", 1), ("6.1", 1)]
    assert [(one.address, one.count) for one in by_address.groups] == [("", 5), ("10.0.0.1", 1)]
    assert [(one.address, one.count) for one in addresses_in_news.groups] == [("", 2), ("10.0.0.1", 1)]
    assert ([one.count for one in of_edge.groups], elsewhere.groups) == ([6], [])
    assert in_news.total == 3 and {one.client_version for one in in_news.groups} > {"5.9", "6.1"}


async def test_an_answer_says_if_more_were_there_than_are_counted(postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(present_counts_postgres, "MAX_COUNTED", 2)
    await insert(postgres.url, *stay("one", -MINUTE, None), *stay("two", -HOUR, None), *stay("three", -DAY, None))
    async with Pool(postgres.url, 1) as pool:
        counted = await PresenceCounts(pool).at(EPOCH + timedelta(milliseconds=THEN), "edge")
    assert (counted.total, counted.more) == (2, True)
