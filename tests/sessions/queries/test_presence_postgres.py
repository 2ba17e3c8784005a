"""Who was connected at a moment, whatever sessions lasted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from services.chassis.postgres.pool import Pool
from services.sessions.queries import channel_presence_postgres
from services.sessions.queries.places import Place
from services.sessions.queries.presence_postgres import Presence, Present
from services.sessions.rows import Connection, Session, Subscription
from tests.sessions.rows_by_hand import EPOCH, Row, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
THEN = 40 * DAY


def stay(name: str, began: int, ended: int | None, edge: str = "edge-1", user: str = "") -> list[Row]:
    """A session of one connection; times are distances to THEN."""
    end = None if ended is None else THEN + ended
    code = None if ended is None else 1001
    opened = THEN + began
    return [
        Session(name, user or name, "", "js", "5.8", edge, "i1", name, 1, opened, None, end, None, code),
        Connection(name, name, edge, "i1", opened, end, code),
    ]


async def ask(postgres: Postgres, limit: int = 10, **conditions: Any) -> Present:
    async with Pool(postgres.url, 1) as pool:
        return await Presence(pool).at(EPOCH + timedelta(milliseconds=THEN), limit, **conditions)


async def by_pages(postgres: Postgres, limit: int, **conditions: Any) -> list[str]:
    """The sessions of all pages."""
    found, after, more = list[str](), None, True
    async with Pool(postgres.url, 1) as pool:
        while more:
            page = await Presence(pool).at(EPOCH + timedelta(milliseconds=THEN), limit, **conditions, after=after)
            found += [one.id for one in page.sessions]
            after, more = Place(page.sessions[-1].opened_at, page.sessions[-1].id), page.more
    return found


async def test_sessions_of_any_length_are_found_and_those_before_and_after_are_not(postgres: Postgres):
    await insert(
        postgres.url,
        *stay("short", -30 * MINUTE, 10 * MINUTE),
        *stay("hour", -HOUR + 1, 1),
        *stay("medium", -23 * HOUR, 30 * MINUTE),
        *stay("long", -30 * DAY, 1),
        *stay("open", -20 * DAY, None),
        *stay("began-then", 0, 5),
        *stay("ended-then", -MINUTE, 0),
        *stay("long-ended", -3 * DAY, -1),
        *stay("later", 1, None),
    )
    present = await ask(postgres)
    assert [one.id for one in present.sessions] == ["began-then", "short", "hour", "medium", "open", "long"]
    assert not present.more
    assert {one.edge for one in present.sessions} == {"edge-1"}
    for limit in (1, 2, 5):
        assert await by_pages(postgres, limit) == [one.id for one in present.sessions]


async def test_a_session_that_was_away_was_not_there_and_one_that_moved_was_where_it_was_then(postgres: Postgres):
    gone = Session("c1", "ann", "", "js", "5.8", "edge-2", "i2", "c2", 2, THEN - HOUR, None)
    moved = Session("c3", "bob", "", "js", "5.8", "edge-2", "i2", "c4", 2, THEN - HOUR, None, address="192.0.2.1")
    await insert(
        postgres.url,
        gone,
        Connection("c1", "c1", "edge-1", "i1", THEN - HOUR, THEN - 5, 1001),
        Connection("c2", "c1", "edge-2", "i2", THEN + 5),
        moved,
        Connection("c3", "c3", "edge-1", "i1", THEN - HOUR, THEN + 5, 1001, address="10.0.0.1"),
        Connection("c4", "c3", "edge-2", "i2", THEN + 9, address="192.0.2.1"),
        Subscription("c3", "news", THEN - HOUR, THEN - 5),
    )
    for present in (await ask(postgres), await ask(postgres, user="bob"), await ask(postgres, channel="news")):
        (one,) = present.sessions
        assert (one.user, one.edge, one.connection, one.address) == ("bob", "edge-1", "c3", "10.0.0.1")
    assert (await ask(postgres, edge="edge-2")).sessions == []
    assert [one.user for one in (await ask(postgres, edge="edge-1")).sessions] == ["bob"]


async def test_channels_are_those_of_then(postgres: Postgres):
    opened = THEN - HOUR
    await insert(
        postgres.url,
        *stay("c1", -HOUR, None, user="ann"),
        Subscription("c1", "there", opened, opened + 1),
        Subscription("c1", "left", opened, opened + 1, THEN - 1),
        Subscription("c1", "leaves", opened, opened + 1, THEN + 1),
        Subscription("c1", "not-yet", opened, THEN + 1),
        *stay("c2", -HOUR, None, user="bob"),
    )
    ann, bob = sorted((await ask(postgres)).sessions, key=lambda one: one.user)
    assert (ann.channels, ann.channel_count, bob.channels) == (["leaves", "there"], 2, [])
    assert [one.user for one in (await ask(postgres, channel="there")).sessions] == ["ann"]
    assert (await ask(postgres, channel="left")).sessions == []


@pytest.mark.parametrize("many", [100, 4], ids=["few subscriptions", "many"])
async def test_a_channel_is_searched_by_its_size_and_the_answer_is_the_same(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, many: int
):
    monkeypatch.setattr(channel_presence_postgres, "MANY", many)
    for name, began, ended, since, until in (
        *[(f"new{n}", -MINUTE - n, None, -MINUTE, None) for n in range(3)],
        ("day", -20 * HOUR, MINUTE, -HOUR, MINUTE),
        ("old", -30 * DAY, MINUTE, -MINUTE, None),
        ("older", -30 * DAY - 1, MINUTE, -29 * DAY, 1),
        ("gone", -HOUR, -1, -MINUTE, None),
        ("gone-long-ago", -30 * DAY, -HOUR, -3 * HOUR, None),
        ("left", -MINUTE, None, -MINUTE, 0),
        ("left-after-hours", -5 * HOUR, None, -2 * HOUR, 0),
    ):
        subscription = Subscription(name, "news", THEN + began, THEN + since, None if until is None else THEN + until)
        await insert(postgres.url, *stay(name, began, ended), subscription)
    for name, began, stays in (  # of each: several times in the channel
        ("back", -31 * DAY, [(-9 * DAY, -2 * HOUR), (-HOUR + 1, -MINUTE), (-1, None)]),
        ("back-early", -32 * DAY, [(-31 * DAY, -9 * DAY), (-8 * DAY, MINUTE), (2 * MINUTE, None)]),
        ("between", -33 * DAY, [(-9 * DAY, -2 * HOUR), (-HOUR, -MINUTE), (1, None)]),
    ):
        rows = [Subscription(name, "news", THEN + began, THEN + at, end and THEN + end) for at, end in stays]
        await insert(postgres.url, *stay(name, began, None), *rows)
    await insert(postgres.url, *stay("other", -MINUTE, None), Subscription("other", "chat", THEN - MINUTE, THEN - 1))
    found = [one.id for one in (await ask(postgres, channel="news")).sessions]
    assert found == ["new0", "new1", "new2", "day", "old", "older", "back", "back-early"]
    newest = await ask(postgres, limit=2, channel="news")
    assert [one.id for one in newest.sessions] == ["new0", "new1"] and newest.more
    assert await by_pages(postgres, 2, channel="news") == found


async def test_sessions_that_began_long_before_they_subscribed_are_on_the_page_of_their_beginning(postgres: Postgres):
    began = {"old": -9 * DAY, "s1": -1, "s2": -MINUTE, "s3": -HOUR, "older": -10 * DAY, "s4": -DAY}
    for place, (name, at) in enumerate(began.items()):  # those who subscribed last are not the newest sessions
        await insert(postgres.url, *stay(name, at, None), Subscription(name, "news", THEN + at, THEN - place))
    names = ["s1", "s2", "s3", "s4", "old", "older"]
    for limit in (1, 2, 3, 5):
        assert await by_pages(postgres, limit, channel="news") == names
        assert [one.id for one in (await ask(postgres, limit, channel="news")).sessions] == names[:limit]


async def test_the_newest_come_first_and_what_is_beyond_the_limit_is_said(postgres: Postgres):
    await insert(
        postgres.url, *(row for n in range(5) for row in stay(f"s{n}", -n * 20 * HOUR - 1, None, user=f"u{n % 2}"))
    )
    present = await ask(postgres, limit=2)
    assert ([one.id for one in present.sessions], present.more) == (["s0", "s1"], True)
    assert [one.id for one in (await ask(postgres, user="u0")).sessions] == ["s0", "s2", "s4"]
    assert await by_pages(postgres, 1, user="u0") == ["s0", "s2", "s4"]


async def test_sessions_that_began_together_are_each_on_one_page(postgres: Postgres):
    names = [f"s{n}" for n in range(6)]
    await insert(postgres.url, *(row for name in names for row in stay(name, -1, None, user="ann")))
    for conditions in ({}, {"user": "ann"}, {"edge": "edge-1"}):
        assert await by_pages(postgres, 2, **conditions) == names[::-1]


async def test_a_session_of_connections_that_overlap_is_there_once_on_the_edge_of_the_last(postgres: Postgres):
    began = THEN - 2 * MINUTE
    await insert(
        postgres.url,
        Session("c1", "ann", "", "js", "5.8", "edge-2", "i2", "c2", 2, began, None),
        Connection("c1", "c1", "edge-1", "i1", began, THEN + MINUTE, 1006),
        Connection("c2", "c1", "edge-2", "i2", THEN - MINUTE),
        Subscription("c1", "news", began, began),
        Subscription("c2", "news", THEN - MINUTE, THEN - MINUTE),
    )
    for found in (await ask(postgres), await ask(postgres, channel="news"), await ask(postgres, edge="edge-2")):
        assert [(one.id, one.connection, one.edge) for one in found.sessions] == [("c1", "c2", "edge-2")]
    assert len((await ask(postgres, channel="news", edge="edge-2")).sessions) == 1
    assert (await ask(postgres, edge="edge-1")).sessions == []
    assert (await ask(postgres, channel="news", edge="edge-1")).sessions == []


@pytest.mark.parametrize("last", ["c1", "c2"])
async def test_of_connections_that_began_together_the_one_that_the_session_went_on_with_carries_it(
    postgres: Postgres, last: str
):
    began = THEN - MINUTE
    session = Session("c0", "ann", "", "js", "5.8", "edge-1", "i1", last, 3, began, None, connected_at=began + 5)
    await insert(
        postgres.url,
        session,
        Connection("c0", "c0", "edge-1", "i1", began, began + 1, 1006),
        Connection("c1", "c0", "edge-1", "i1", began + 5),
        Connection("c2", "c0", "edge-1", "i1", began + 5),
        Subscription("c1", "news", began + 5, began + 6),
        Subscription("c2", "news", began + 5, began + 6),
    )
    for found in (await ask(postgres), await ask(postgres, channel="news")):
        assert [(one.id, one.connection, one.channels) for one in found.sessions] == [("c0", last, ["news"])]


async def test_a_session_whose_last_connection_closed_is_not_there_though_an_earlier_one_still_is(postgres: Postgres):
    began, ended = THEN - MINUTE, THEN - 1
    ann = Session("c1", "ann", "", "js", "5.8", "edge-1", "i1", "c2", 2, began, None, ended, None, 1000)
    await insert(
        postgres.url,
        replace(ann, connected_at=began + 5),
        Connection("c1", "c1", "edge-1", "i1", began),
        Connection("c2", "c1", "edge-1", "i1", began + 5, ended, 1000),
        Subscription("c1", "news", began, began),
        Subscription("c2", "news", began + 5, began + 5),
    )
    assert (await ask(postgres)).sessions == (await ask(postgres, channel="news")).sessions == []


async def test_a_connection_to_an_edge_whose_clock_is_behind_carries_its_session(postgres: Postgres):
    began = THEN - HOUR
    await insert(
        postgres.url,
        Session("c1", "ann", "", "js", "5.8", "edge-2", "i2", "c2", 2, began, None),
        Connection("c1", "c1", "edge-1", "i1", began, began + 1, 1006),
        Connection("c2", "c1", "edge-2", "i2", began - 2000),
        Subscription("c2", "news", began - 2000, began - 1999),
        *stay("before", -HOUR - 1000, None),
        Subscription("before", "news", began - 1000, began - 999),
    )
    assert [one.channels for one in (await ask(postgres)).sessions] == [["news"], ["news"]]
    newest = await ask(postgres, limit=1, channel="news")
    assert ([one.connection for one in newest.sessions], newest.more) == (["c2"], True)


async def test_anonymous_clients_are_those_without_a_user(postgres: Postgres):
    await insert(
        postgres.url,
        *stay("ann", -MINUTE, None),
        *_anonymous("a1", -MINUTE, None),
        *_anonymous("a2", -3 * DAY, 1, "edge-2"),
        *_anonymous("left", -MINUTE, -1),
        Subscription("a1", "news", THEN - MINUTE, THEN - MINUTE),
    )
    assert [one.id for one in (await ask(postgres, user="")).sessions] == ["a1", "a2"]
    assert [one.id for one in (await ask(postgres, user="", edge="edge-2")).sessions] == ["a2"]
    assert [one.id for one in (await ask(postgres, user="", channel="news")).sessions] == ["a1"]
    assert [one.id for one in (await ask(postgres, user="ann")).sessions] == ["ann"]


def _anonymous(name: str, began: int, ended: int | None, edge: str = "edge-1") -> list[Row]:
    session, connection = stay(name, began, ended, edge)
    assert isinstance(session, Session)
    return [replace(session, user=""), connection]
