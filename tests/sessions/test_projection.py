"""Sessions: the rules of the fold, one by one, and the invariants of any story."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.events import Closed, EdgeFound, EdgeLost, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed
from services.sessions.projection import apply, fold
from services.sessions.rows import EDGE_LOST_CODE, EDGE_LOST_REASON, Session
from services.sessions.state import State
from tests.contract.session_rows import rows_of, subscriptions_of
from tests.sessions.stories import WINDOW_MS, long_story, shuffled, split, stories, tabs_of_two_edges


def told(*facts: tuple[str, SessionEvent] | SessionEvent) -> State:
    state = State(WINDOW_MS)
    for fact in facts:
        instance, event = fact if isinstance(fact, tuple) else ("i1", fact)
        apply(state, event, f"edge-{instance}", instance)
    return state


def ann(connection: str, at: int, **more: str) -> Opened:
    return Opened(at=at, connection=connection, user="ann", **more)


def only(state: State) -> Session:
    (session,) = state.sessions.values()
    return session


def test_a_client_that_comes_back_within_the_window_on_another_edge_continues_its_session():
    state = told(
        ("i1", ann("c1", 1_000)),
        ("i1", Closed(at=5_000, connection="c1", code=1001, reason="shutdown")),
        ("i2", ann("c2", 5_000 + WINDOW_MS)),
    )
    session = only(state)
    assert (session.id, session.connection, session.connections) == ("c1", "c2", 2)
    assert (session.edge, session.instance) == ("edge-i2", "i2")
    assert (session.ended_at, session.away_until, session.end_code, session.end_reason) == (None, None, None, "")
    assert state.connections["c1"].close_code == 1001
    assert {one.session_id for one in state.connections.values()} == {"c1"}


def test_interrupted_sessions_are_the_whole_of_which_the_resumed_ones_are_a_part():
    lost = Closed(at=10, connection="c1", code=1006)
    counted = [
        told(ann("c1", 0), lost),
        told(ann("c1", 0), lost, ann("c2", 20)),
        told(ann("c1", 0), ann("c2", 20), lost),  # its new connection is told before the end of the old one
        told(ann("c1", 0), EdgeLost(at=5, instance="i1"), lost, ann("c2", 20)),  # the edge corrects a guess
        told(ann("c1", 0), Closed(at=10, connection="c1", code=1000), ann("c2", 20)),  # a goodbye
        told(Opened(at=0, connection="c1", user=""), lost),  # nobody can tell who comes back
    ]
    assert [(one.resumed, one.interrupted) for one in counted] == [(0, 1), (1, 1), (1, 1), (1, 1), (0, 0), (0, 0)]


def test_past_the_window_it_is_a_new_session():
    state = told(ann("c1", 0), Closed(at=10, connection="c1", code=1006), ann("c2", 10 + WINDOW_MS + 1))
    assert set(state.sessions) == {"c1", "c2"}
    assert (state.sessions["c1"].ended_at, state.sessions["c1"].end_code) == (10, 1006)


def test_a_goodbye_and_a_terminal_close_end_the_session_for_good():
    for code in (1000, 3503, 4500):
        state = told(ann("c1", 0), Closed(at=10, connection="c1", code=code), ann("c2", 20))
        assert state.sessions["c1"].away_until is None
        assert set(state.sessions) == {"c1", "c2"}


def test_nobody_continues_the_session_of_another_user_device_or_program_nor_an_anonymous_one():
    gone = Closed(at=10, connection="c1", code=1001)
    for first, second in (
        (ann("c1", 0), Opened(at=20, connection="c2", user="bob")),
        (ann("c1", 0, session_key="phone"), ann("c2", 20, session_key="desk")),
        (ann("c1", 0, client_name="js"), ann("c2", 20, client_name="python")),
        (Opened(at=0, connection="c1"), Opened(at=20, connection="c2")),
        (ann("c1", 0, session_key="a", client_name="bc"), ann("c2", 20, session_key="ab", client_name="c")),
        (Opened(at=0, connection="c1", user="x" * 513), Opened(at=20, connection="c2", user="x" * 512 + "y")),
        (Opened(at=0, connection="c1", user="n\0l"), Opened(at=20, connection="c2", user="n\ufffdl")),
        (ann("c1", 0, session_key="k" * 513), ann("c2", 20, session_key="k" * 514)),
    ):
        assert set(told(first, gone, second).sessions) == {"c1", "c2"}


def test_the_session_that_was_lost_first_is_continued_first_and_by_one_connection():
    state = told(
        ann("a", 0), ann("b", 1), Closed(at=20, connection="b", code=1001), Closed(at=30, connection="a", code=1001),
        ann("c", 40), ann("d", 41), ann("e", 42),
    )  # fmt: skip
    assert {one.id: one.connection for one in state.sessions.values()} == {"a": "d", "b": "c", "e": "e"}


def test_a_client_that_is_back_before_its_old_edge_says_so_continues_its_session_too():
    state = told(
        ("i1", ann("c1", 0)),
        ("i2", ann("c2", 120)),
        ("i2", Subscribed(at=130, connection="c2", channel="news", recovered=True)),
        ("i1", Closed(at=100, connection="c1", code=1001)),
        ("i2", Closed(at=900, connection="c2", code=1000)),
    )
    session = only(state)
    assert (session.id, session.connection, session.connections, session.ended_at) == ("c1", "c2", 2, 900)
    assert state.connections["c2"].session_id == "c1"
    assert state.removed == {"c2"}


@pytest.mark.parametrize("late", [False, True])
def test_each_connection_keeps_the_address_from_which_it_came_and_a_session_has_that_of_its_last(late: bool):
    facts: list[tuple[str, SessionEvent]] = [
        ("i1", ann("c1", 0, address="10.0.0.1")),
        ("i1", Closed(at=100, connection="c1", code=1001)),
        ("i2", ann("c2", 120, address="192.0.2.1")),
    ]
    state = told(facts[0], facts[2], facts[1]) if late else told(*facts)
    assert only(state).address == "192.0.2.1"
    assert {name: row.address for name, row in state.connections.items()} == {"c1": "10.0.0.1", "c2": "192.0.2.1"}


def test_a_second_tab_that_was_there_before_is_not_swallowed():
    state = told(ann("c1", 0), ann("c2", 50), Closed(at=100, connection="c1", code=1001))
    assert set(state.sessions) == {"c1", "c2"}


def test_nor_is_it_if_it_is_told_late():
    state = told(("i1", ann("c1", 0)), ("i1", Closed(at=100, connection="c1", code=1001)), ("i2", ann("c2", 50)))
    assert set(state.sessions) == {"c1", "c2"}
    assert state.sessions["c1"].away_until == 100 + WINDOW_MS


def test_a_late_connection_continues_the_session_that_had_ended_by_then():
    state = told(
        *(("i1", ann(name, 0)) for name in ("c1", "c2", "c3")),
        ("i1", Closed(at=200, connection="c1", code=1001)),
        ("i1", Closed(at=100, connection="c2", code=1001)),
        ("i1", Closed(at=300, connection="c3", code=1001)),
        ("i2", ann("c4", 250)),
        ("i2", ann("c5", 250)),
        ("i2", ann("c6", 250)),
    )
    assert {one.id: one.connection for one in state.sessions.values()} == {
        "c1": "c5", "c2": "c4", "c3": "c3", "c6": "c6",
    }  # fmt: skip


def test_a_lost_edge_closes_its_open_connections_and_a_found_one_gets_exactly_those_back():
    state = told(
        ("i1", ann("c1", 0)),
        ("i1", Opened(at=0, connection="c2", user="bob")),
        ("i1", Opened(at=0, connection="c3", user="eve")),
        ("i2", Opened(at=0, connection="c4", user="dan")),
        ("i1", Closed(at=5, connection="c3", code=1006)),
        EdgeLost(at=100, instance="i1"),
    )
    for key in ("c1", "c2"):
        session = state.sessions[key]
        assert (session.ended_at, session.end_code, session.end_reason) == (100, EDGE_LOST_CODE, EDGE_LOST_REASON)
        assert session.away_until == 100 + WINDOW_MS
    assert state.connections["c4"].closed_at is None
    apply(state, EdgeFound(at=200, instance="i1"))
    assert {one.id for one in state.connections.values() if one.closed_at is None} == {"c1", "c2", "c4"}
    assert state.sessions["c1"].ended_at is None
    assert state.sessions["c3"].ended_at == 5


@pytest.mark.parametrize("found_at", [130, 160])
def test_a_session_goes_on_with_the_tab_whose_edge_was_found(found_at: int):
    """The second tab resumed the session of the first, whose edge seemed lost. It closes after the edge is found, or
    before."""
    facts: list[tuple[str, SessionEvent]] = [
        ("i1", ann("c1", 0, client_version="1", address="10.0.0.1")),
        ("w", EdgeLost(at=100, instance="i1")),
        ("i2", ann("c2", 120, client_version="2", address="10.0.0.2")),
        ("i2", Closed(at=150, connection="c2", code=1000)),
        ("w", EdgeFound(at=found_at, instance="i1")),
    ]
    state = told(*sorted(facts, key=lambda fact: fact[1].at))
    session = only(state)
    assert (session.ended_at, session.end_code, session.away_until) == (None, None, None)
    assert (session.connection, session.connected_at, session.connections) == ("c1", 0, 2)
    assert (session.edge, session.instance) == ("edge-i1", "i1")
    assert (session.client_version, session.address) == ("1", "10.0.0.1")
    apply(state, Closed(at=300, connection="c1", code=1001))
    assert (session.ended_at, session.end_code, session.away_until) == (300, 1001, 300 + WINDOW_MS)
    apply(state, ann("c3", 310), "edge-i2", "i2")
    assert (only(state).connection, session.connections) == ("c3", 3)


def test_of_a_session_whose_tabs_were_on_edges_that_were_found_the_newest_goes_on():
    state = told(
        ("i1", ann("c1", 0)),
        EdgeLost(at=100, instance="i1"),
        ("i1", ann("c2", 120)),
        EdgeLost(at=200, instance="i1"),
        EdgeFound(at=210, instance="i1"),
    )
    assert (only(state).connection, only(state).ended_at) == ("c2", None)
    apply(state, Closed(at=250, connection="c1", code=1000))
    assert (only(state).connection, only(state).ended_at) == ("c2", None)
    apply(state, Closed(at=260, connection="c2", code=1000))
    assert (only(state).connection, only(state).ended_at) == ("c2", 260)


def test_a_session_that_absorbed_another_goes_on_with_the_tab_that_was_open_there():
    state = told(
        ("i1", ann("c1", 0)),
        ("i2", ann("c2", 110)),
        EdgeLost(at=200, instance="i2"),
        ("i3", ann("c3", 210)),
        EdgeFound(at=300, instance="i2"),
        ("i1", Closed(at=100, connection="c1", code=1001)),  # late: c2 continued c1
        ("i3", Closed(at=400, connection="c3", code=1000)),
    )
    assert (only(state).id, only(state).connection, only(state).ended_at) == ("c1", "c2", None)


def test_a_client_of_a_killed_edge_that_was_back_before_the_loss_was_noticed_continues():
    state = told(("i1", ann("c1", 0)), ("i2", ann("c2", 1_500)), EdgeLost(at=1_000, instance="i1"))
    assert (only(state).id, only(state).connection) == ("c1", "c2")


def test_a_late_fact_of_the_edge_replaces_the_guess():
    state = told(ann("c1", 0), EdgeLost(at=100, instance="i1"), Closed(at=90, connection="c1", code=1000))
    assert (only(state).ended_at, only(state).end_code, only(state).away_until) == (90, 1000, None)


def test_subscriptions_end_once_and_facts_of_unknown_connections_are_counted():
    state = told(
        ann("c1", 0),
        Subscribed(at=1, connection="c1", channel="news"),
        Unsubscribed(at=2, connection="c1", channel="news"),
        Unsubscribed(at=9, connection="c1", channel="news"),
        Subscribed(at=3, connection="c1", channel="a\0b", recovered=False),
        Subscribed(at=3, connection="nobody", channel="news"),
        Closed(at=3, connection="nobody", code=1000),
    )
    stays = subscriptions_of(state)
    assert stays["c1", "news", 1].until == 2
    assert stays["c1", "a\ufffdb", 3].recovered is False
    assert state.unknown == 2


def test_each_stay_in_a_channel_is_a_row_of_its_own():
    def there(at: int) -> SessionEvent:
        return Subscribed(at=at, connection="c1", channel="news")

    def left(at: int) -> SessionEvent:
        return Unsubscribed(at=at, connection="c1", channel="news")

    for facts, stays in (
        ([there(1), left(5), there(9)], [(1, 5), (9, None)]),
        ([there(1), left(5), there(9), left(12)], [(1, 5), (9, 12)]),
        ([there(1), there(1), left(5), left(5), there(9), there(1)], [(1, 5), (9, None)]),  # some are told again
        ([there(1), there(9), left(12)], [(1, 9), (9, 12)]),  # that it left was not told
        ([there(1), left(1), there(1)], [(1, None)]),  # within a millisecond
        ([there(9), left(5)], [(9, 9)]),  # the clock was put back
    ):
        rows = subscriptions_of(told(ann("c1", 0), *facts)).values()
        assert sorted((row.since, row.until) for row in rows) == stays, facts


@pytest.mark.parametrize("seed", range(60))
def test_rows_of_long_stories_agree_with_each_other(seed: int):
    batches = long_story(seed)
    rows_agree(fold(State(WINDOW_MS), batches))


@given(stories, st.lists(st.integers(0, 40), max_size=6))
def test_any_split_into_batches_gives_the_same_rows(batches: list[EventBatch], cuts: list[int]):
    whole = fold(State(WINDOW_MS), batches)
    parts = State(WINDOW_MS)
    for stretch in split(batches, cuts):
        fold(parts, stretch)
    assert rows_of(parts) == rows_of(whole)


@given(tabs_of_two_edges(apart_ms=WINDOW_MS // 4), st.randoms(use_true_random=False))
def test_in_whatever_order_batches_of_two_edges_come_no_session_has_two_connections_at_once(
    edges: list[list[EventBatch]], chance: Random
):
    state = fold(State(WINDOW_MS), shuffled(edges, chance))
    for id_ in state.sessions:
        rows = sorted((state.connections[name] for name in state.connections_of(id_)), key=lambda row: row.opened_at)
        for before, after in itertools.pairwise(rows):
            assert before.closed_at is not None
            assert before.closed_at <= after.opened_at <= before.closed_at + WINDOW_MS


@given(tabs_of_two_edges(apart_ms=3 * WINDOW_MS), st.randoms(use_true_random=False))
def test_in_whatever_order_batches_of_two_edges_come_a_client_that_could_be_no_other_continues_its_session(
    edges: list[list[EventBatch]], chance: Random
):
    facts = [(batch.instance, fact) for batch in itertools.chain(*edges) for fact in batch.events]
    in_order = told(*sorted(facts, key=lambda fact: fact[1].at))
    models = "sessions", "users", "drops", "versions"
    assert rows_of(fold(State(WINDOW_MS), shuffled(edges, chance)), models) == rows_of(in_order, models)


@given(stories)
def test_rows_agree_with_each_other(batches: list[EventBatch]):
    rows_agree(fold(State(WINDOW_MS), batches))


def rows_agree(state: State) -> None:
    for connection in state.connections.values():
        assert connection.session_id in state.sessions
    for session in state.sessions.values():
        own = [one for one in state.connections.values() if one.session_id == session.id]
        current = state.connections[session.connection]
        assert session.connections == len(own)
        assert (session.ended_at is None) == any(one.closed_at is None for one in own)
        assert current in own
        assert session.ended_at == current.closed_at
        assert session.end_code == current.close_code
        assert session.connected_at == (current.opened_at if len(own) > 1 else None)
