"""What became of a user after each end of a connection: on the same device, in the same session or a new one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from proto.events import (
    BY_BACKEND,
    BY_NETWORK,
    Closed,
    EdgeFound,
    EdgeLost,
    Opened,
    Refused,
    SessionEvent,
    Subscribed,
)
from services.chassis.postgres.pool import Pool
from services.sessions.queries import end_facts_postgres
from services.sessions.queries.periods import Period
from services.sessions.queries.user_story_postgres import UserStories, UserStory
from services.sessions.rows import UserDevice
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_store import batch
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

WINDOW_MS = 60_000
START = 10**12


def opened(at: int, name: str, key: str = "phone", address: str = "") -> Opened:
    return Opened(at=START + at, connection=name, user="ann", session_key=key, address=address)


def closed(at: int, name: str, code: int = 1006, heard: int | None = None) -> Closed:
    """The connection `name` broke at `at`; its client was heard last at `heard`, by default at its end."""
    heard_at = START + (at if heard is None else heard)
    return Closed(at=START + at, connection=name, code=code, by=BY_NETWORK, heard_at=heard_at, offsets={"news": 7})


def one_session(first: str, second: str) -> list[SessionEvent]:
    """Two connections of one session, both open: the edge of the first hung while the second was opened."""
    lost, found = EdgeLost(at=START + 10_000, instance="i1"), EdgeFound(at=START + 15_000, instance="i1")
    return [opened(0, first), lost, opened(12_000, second), found]


def returns(story: UserStory) -> dict[str, str | None]:
    """The connection with which the client of each ended one came back."""
    return {end.connection: None if end.back is None else end.back.connection for end in story.ends}


async def told(postgres: Postgres, *facts: SessionEvent, limit: int = 10) -> UserStory:
    """The story of ann after these facts, an hour after they began."""
    since = EPOCH + timedelta(milliseconds=START)
    async with Pool(postgres.url, 1) as pool:
        await PostgresStore(pool, WINDOW_MS).commit(ORIGIN, Position("e", 1), [batch(1, *facts)])
        return await UserStories(pool).why("ann", Period(since, since + timedelta(hours=1)), limit)


async def test_a_client_comes_back_in_its_session_in_a_new_one_or_never(postgres: Postgres):
    story = await told(
        postgres,
        opened(0, "a", address="10.0.0.1"),
        opened(0, "tablet", "tablet"),
        closed(10_000, "a"),
        opened(11_000, "b", address="192.0.2.1"),
        Subscribed(at=START + 11_001, connection="b", channel="news", recovered=False, recovered_from=7, offset=9),
        closed(20_000, "b"),
        opened(30_000, "other", "tablet"),  # another device is no return
        opened(95_000, "c"),  # beyond the resume window
        closed(99_000, "c", 3500),
    )
    never, anew, resumed = story.ends
    assert story.known and story.connected == 2 and not story.more
    assert [(one.connection, one.address) for one in story.ends] == [("c", ""), ("b", "192.0.2.1"), ("a", "10.0.0.1")]
    assert never.back is None and never.away_until is None
    assert anew.back is not None and (anew.back.connection, anew.back.resumed) == ("c", False)
    assert resumed.back is not None and (resumed.back.connection, resumed.back.resumed) == ("b", True)
    (news,) = resumed.back.channels
    assert (news.recovered, news.after, news.offset) == (False, 7, 9)
    assert resumed.delivered is not None and resumed.delivered.offsets == {"news": 7}


async def test_a_limit_keeps_the_newest_and_says_that_there_is_more(postgres: Postgres):
    facts = [fact for n in range(4) for fact in (opened(n * 1000, f"c{n}"), closed(n * 1000 + 500, f"c{n}"))]
    story = await told(postgres, *facts, limit=2)
    assert ([one.connection for one in story.ends], story.more) == (["c3", "c2"], True)
    assert story.ends[0].away_until is not None


@pytest.mark.parametrize(("at_once", "most", "ends"), [(True, 100, 3), (True, 1, 1), (False, 50, 2), (False, 10, 2)])
async def test_of_much_that_clients_did_the_newest_ends_are_told_whole_and_that_there_is_more(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, at_once: bool, most: int, ends: int
):
    """Each connection of a client that subscribes and leaves again and again has many facts: in the row that says how
    it was closed, or in those that say what its client got when it was back."""
    life, over = list[SessionEvent](), list[SessionEvent]()
    for at in range(0, 4000, 1000):
        life.append(opened(at, f"c{at}"))
        life += [Subscribed(at=START + at + n, connection=f"c{at}", channel=f"{n}", offset=n) for n in range(1, 31)]
        (life if at_once else over).append(closed(at + 500, f"c{at}"))
    period = Period(EPOCH + timedelta(milliseconds=START), EPOCH + timedelta(milliseconds=START, hours=1))
    async with Pool(postgres.url, 1) as pool:
        await PostgresStore(pool, WINDOW_MS).commit(ORIGIN, Position("e", 2), [batch(1, *life), batch(2, *over)])
        everything = await UserStories(pool).why("ann", period, 10)
        monkeypatch.setattr(end_facts_postgres, "MAX_FACTS", most)
        some = await UserStories(pool).why("ann", period, 10)
    assert not everything.more and [each.connection for each in everything.ends] == ["c3000", "c2000", "c1000", "c0"]
    assert [len(each.back.channels) for each in everything.ends if each.back is not None] == [30, 30, 30]
    assert some.more and some.ends == everything.ends[:ends]


async def test_the_newest_end_is_told_however_much_its_client_did_when_it_was_back(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(end_facts_postgres, "MAX_FACTS", 1)
    rows = [
        batch(number, Subscribed(at=START + 2_000 + number, connection="b", channel=f"{number}")) for number in (2, 3)
    ]
    period = Period(EPOCH + timedelta(milliseconds=START), EPOCH + timedelta(milliseconds=START, hours=1))
    async with Pool(postgres.url, 1) as pool:
        before = batch(1, opened(0, "a"), closed(1_000, "a"), opened(2_000, "b"))
        await PostgresStore(pool, WINDOW_MS).commit(ORIGIN, Position("e", 3), [before, *rows])
        story = await UserStories(pool).why("ann", period, 10)
    (end,) = story.ends
    assert story.more and end.back is not None and [one.channel for one in end.back.channels] == ["2"]


async def test_a_client_that_was_back_before_its_edge_noticed_is_not_told_to_be_gone(postgres: Postgres):
    """The network dies without a word: the client connects anew at once, its old edge waits for a pong."""
    story = await told(postgres, opened(0, "a"), opened(60_000, "b"), closed(85_000, "a", heard=59_000))
    (dead,) = story.ends
    assert dead.back is not None and (dead.back.connection, dead.back.resumed) == ("b", False)
    assert dead.back.at < dead.at and dead.away_until is None


async def test_another_tab_is_no_return(postgres: Postgres):
    """Nothing but the order of their connections tells the tabs of a browser apart."""
    story = await told(
        postgres,
        opened(0, "tab 0"),
        opened(0, "tab 1"),
        opened(100_000, "tab 2"),
        opened(110_000, "tab 3"),
        opened(120_000, "tab 4"),
        opened(130_000, "tab 5"),
        closed(1_000_000, "tab 1", heard=990_000),
        closed(1_100_000, "tab 2", 1000),  # a goodbye
        Closed(at=START + 1_200_000, connection="tab 3", code=1006, by=BY_NETWORK),  # of an edge that tells no heard_at
        Closed(at=START + 150_000, connection="tab 4", code=3503, by=BY_BACKEND, heard_at=START + 121_000),
        closed(1_500_000, "tab 0", heard=-1),  # a one-way stream is never heard after its beginning
    )
    assert returns(story) == {"tab 0": None, "tab 1": None, "tab 2": None, "tab 3": None, "tab 4": None}


async def test_what_continues_the_session_of_one_tab_is_not_the_return_of_another(postgres: Postgres):
    story = await told(
        postgres,
        opened(0, "tab 1"),
        opened(1_000, "tab 2"),
        closed(10_000, "tab 1"),
        closed(200_000, "tab 2"),
        opened(210_000, "tab 2 again"),
    )
    assert returns(story) == {"tab 1": None, "tab 2": "tab 2 again"}


async def test_two_tabs_that_were_taken_for_one_session_while_an_edge_hung_are_told_apart(postgres: Postgres):
    story = await told(
        postgres,
        *one_session("tab 1", "tab 2"),
        closed(1_000_000, "tab 1", heard=990_000),
    )
    assert returns(story) == {"tab 1": None} and story.ends[0].away_until is None


@pytest.mark.parametrize("heard", [199_000, -START, -1], ids=["heard", "edge told nothing", "one-way stream"])
@pytest.mark.parametrize("again", [True, False])
async def test_of_two_tabs_in_one_session_the_one_that_ended_last_may_come_back(
    postgres: Postgres, heard: int, again: bool
):
    """The first tab outlives the second, which counts to the same session and says goodbye."""
    story = await told(
        postgres,
        *one_session("tab 1", "tab 2"),
        closed(100_000, "tab 2", 1000),
        closed(200_000, "tab 1", heard=heard),
        *([opened(205_000, "tab 1 again")] if again else []),
    )
    assert returns(story) == {"tab 1": "tab 1 again" if again else None, "tab 2": None}
    first, second = story.ends
    resumable_until = EPOCH + timedelta(milliseconds=START + 200_000 + WINDOW_MS)
    assert (first.away_until, second.away_until) == (None if again else resumable_until, None)


async def test_a_session_that_was_over_before_a_lost_edge_told_an_end_did_not_go_on(postgres: Postgres):
    story = await told(
        postgres,
        opened(0, "a"),
        EdgeLost(at=START + 10_000, instance="i1"),
        opened(12_000, "b"),
        closed(100_000, "b"),
        closed(200_000, "a"),  # its edge comes back, and tells it
    )
    assert returns(story) == {"a": None, "b": None}
    assert [one.away_until for one in story.ends] == [EPOCH + timedelta(milliseconds=START + 100_000 + WINDOW_MS)] * 2


async def test_a_tab_comes_back_in_its_session_while_the_edge_of_another_hangs(postgres: Postgres):
    story = await told(
        postgres,
        opened(0, "a"),
        EdgeLost(at=START + 10_000, instance="i1"),
        opened(12_000, "b"),
        closed(20_000, "b"),
        opened(22_000, "c"),
        EdgeFound(at=START + 30_000, instance="i1"),
        closed(33_000, "a", heard=9_000),
    )
    assert returns(story)["b"] == "c"


async def test_a_client_that_was_back_while_its_edge_hung_is_not_told_to_be_gone(postgres: Postgres):
    story = await told(
        postgres,
        *one_session("a", "b"),
        closed(33_000, "a", heard=9_000),
    )
    assert returns(story) == {"a": "b"} and story.ends[0].back is not None and story.ends[0].back.resumed


async def test_a_client_that_was_back_after_the_period_is_not_told_to_be_gone(postgres: Postgres):
    await told(postgres, opened(0, "a"), closed(10_000, "a"), opened(200_000, "b"))
    since = EPOCH + timedelta(milliseconds=START)
    async with Pool(postgres.url, 1) as pool:
        story = await UserStories(pool).why("ann", Period(since, since + timedelta(minutes=1)), 10)
    (end,) = story.ends
    assert end.back is not None and end.back.connection == "b"


async def test_a_user_whose_sessions_are_no_longer_kept_is_known_still(postgres: Postgres):
    await insert(postgres.url, UserDevice("ann", "phone", "js", "5.8", START, START))
    since = EPOCH + timedelta(milliseconds=START)
    async with Pool(postgres.url, 1) as pool:
        assert (await UserStories(pool).why("ann", Period(since, since + timedelta(hours=1)), 10)).known
        assert not (await UserStories(pool).why("bob", Period(since, since + timedelta(hours=1)), 10)).known


async def test_refusals_without_a_name_are_counted_beside_those_of_the_user(postgres: Postgres):
    story = await told(
        postgres,
        opened(0, "a"),
        Refused(START + 1, "publish", 103, connection="a", user="ann", count=290),
        Refused(START + 2, "publish", 103, connection="b", count=5),
        Refused(START + 3, "connect", 3500, count=50),
        Refused(START + 4, "publish", 103, count=7),
        Refused(START + 5, "subscribe", 103, count=2),
        Refused(START + 6, "connect", 109, count=830),
        Refused(START + 7, "connect", 3501, count=60),
        Refused(START + 8, "handshake", 429, count=70),
    )
    assert [one.count for one in story.refusals] == [290]
    assert story.unnamed == 839, "an anonymous client has its connection, and without a token nobody is a user"
