"""What a commit changed, as followers learn it."""

from __future__ import annotations

from typing import Any

from proto.events import Closed, EdgeFound, EdgeLost, Erased, EventBatch, Opened, Subscribed, Unsubscribed, user_digest
from services.sessions.changes import (
    MAX_CHANGES,
    MAX_CHANNELS,
    Change,
    Changes,
    changes_of,
    decode_changes,
    encode_changes,
)
from services.sessions.projection import fold
from services.sessions.resident import Resident
from services.sessions.rows import Session, Subscription
from services.sessions.state import State
from tests.contract.session_rows import subscriptions_of


class Story:
    """Commits one after the other; each state has what a store would have loaded."""

    def __init__(self) -> None:
        self._number = 0
        self._rows: State | None = None

    def commit(self, *events: Any, edge: str = "edge-1") -> list[Change] | None:
        self._number += 1
        state = Resident(60_000)
        if self._rows is not None:
            for session in self._rows.sessions.values():
                state.add_session(session)
            for connection in self._rows.connections.values():
                state.add_connection(connection)
            for subscription in subscriptions_of(self._rows).values():
                state.subscriptions.put(subscription)
        batches = [EventBatch(edge, f"i of {edge}", self._number, list(events))]
        self._rows = fold(state, batches)
        return changes_of(state, batches)


def told(changes: list[Change] | None) -> list[tuple[str, str, list[str]]]:
    assert changes is not None
    return [(one.change, one.id, one.channels) for one in changes]


def test_a_session_is_told_at_each_turn_of_its_life() -> None:
    story = Story()
    assert told(story.commit(Opened(at=1, connection="a", user="ann"))) == [("opened", "a", [])]
    assert told(story.commit(Subscribed(at=2, connection="a", channel="news"))) == [("subscribed", "a", ["news"])]
    assert told(story.commit(Closed(at=3, connection="a", code=1006))) == [("away", "a", ["news"])]
    assert told(story.commit(Opened(at=4, connection="b", user="ann"))) == [("resumed", "a", [])]
    story.commit(Subscribed(at=5, connection="b", channel="news"))
    assert told(story.commit(Unsubscribed(at=6, connection="b", channel="news"))) == [("unsubscribed", "a", ["news"])]
    (ended,) = story.commit(Closed(at=7, connection="b", code=1000)) or []
    row = ended.session
    assert row is not None and (ended.change, row.user, row.end_code, row.ended_at) == ("ended", "ann", 1000, 7)
    assert told(story.commit()) == []


def test_a_change_is_of_its_commit_whatever_comes_after() -> None:
    story = Story()
    (opened,) = story.commit(Opened(at=1, connection="a", user="ann")) or []
    story.commit(Closed(at=3, connection="a", code=1000))
    assert opened.session is not None and opened.session.ended_at is None


def test_what_happens_within_a_commit_is_told_once() -> None:
    opened, closed = Opened(at=1, connection="a"), Closed(at=3, connection="a", code=1000)
    assert told(Story().commit(opened, Subscribed(at=2, connection="a", channel="x"), closed)) == [
        ("ended", "a", ["x"])
    ]


def test_channels_that_were_joined_and_left_in_one_commit_are_told_apart() -> None:
    story = Story()
    story.commit(Opened(at=1, connection="a", user="ann"), Subscribed(at=1, connection="a", channel="old"))
    both = Unsubscribed(at=2, connection="a", channel="old"), Subscribed(at=2, connection="a", channel="new")
    assert told(story.commit(*both)) == [("subscribed", "a", ["new"]), ("unsubscribed", "a", ["old"])]
    again = (
        Closed(at=3, connection="a", code=1006),
        Opened(at=4, connection="b", user="ann"),
        Subscribed(at=5, connection="b", channel="new"),
        Subscribed(at=5, connection="b", channel="more"),
        Unsubscribed(at=6, connection="b", channel="more"),
    )
    assert told(story.commit(*again)) == [("resumed", "a", ["new"]), ("unsubscribed", "a", ["more"])]


def test_an_erasure_is_not_told_as_not_all_that_goes_is_known() -> None:
    story = Story()
    story.commit(Opened(at=1, connection="a", user="ann"))
    assert story.commit(Erased(at=9, user_digest=user_digest("ann"))) is None


def test_a_session_that_another_absorbs_is_removed() -> None:
    story = Story()
    story.commit(Opened(at=1, connection="a", user="ann"), Opened(at=5, connection="b", user="ann"))
    assert told(story.commit(Closed(at=4, connection="a", code=1006))) == [("removed", "b", []), ("resumed", "a", [])]


def test_who_came_back_before_its_edge_was_found_to_be_lost_is_still_where_it_subscribed_again() -> None:
    story = Story()
    joined = [Subscribed(at=2, connection="a", channel=name) for name in ("news", "old")]
    story.commit(Opened(at=1, connection="a", user="ann"), *joined)
    story.commit(
        Opened(at=5, connection="b", user="ann"), Subscribed(at=6, connection="b", channel="news"), edge="edge-2"
    )
    lost = story.commit(EdgeLost(at=4, instance="i of edge-1"))
    assert told(lost) == [("removed", "b", []), ("resumed", "a", ["news"]), ("unsubscribed", "a", ["old"])]
    assert [one.left_edge for one in lost or ()] == [None, "edge-1", "edge-1"]


def test_a_close_that_is_told_late_leaves_no_channel_in_which_the_session_is() -> None:
    story = Story()
    joined = [Subscribed(at=2, connection="a", channel=name) for name in ("news", "old")]
    story.commit(Opened(at=1, connection="a", user="ann"), *joined, EdgeLost(at=3, instance="i of edge-1"))
    story.commit(Opened(at=5, connection="b", user="ann"), Subscribed(at=6, connection="b", channel="news"))
    assert told(story.commit(Closed(at=4, connection="a", code=1006))) == [("unsubscribed", "a", ["old"])]


def test_a_session_whose_edge_was_not_lost_is_in_its_channels_again() -> None:
    story = Story()
    story.commit(Opened(at=1, connection="a", user="ann"), Subscribed(at=2, connection="a", channel="news"))
    assert told(story.commit(EdgeLost(at=3, instance="i of edge-1"))) == [("away", "a", ["news"])]
    assert told(story.commit(EdgeFound(at=4, instance="i of edge-1"))) == [("resumed", "a", ["news"])]


def test_a_channel_knows_of_each_turn_of_a_session_that_is_there_by_a_connection_that_it_had_before() -> None:
    story = Story()
    story.commit(Opened(at=1, connection="a", user="ann"), Subscribed(at=2, connection="a", channel="news"))
    story.commit(EdgeLost(at=3, instance="i of edge-1"))
    story.commit(Opened(at=4, connection="b", user="ann"), edge="edge-2")
    assert told(story.commit(EdgeFound(at=5, instance="i of edge-1"))) == [("subscribed", "a", ["news"])]
    closed = story.commit(Closed(at=6, connection="b", code=1000), edge="edge-2")
    assert told(closed) == [("resumed", "a", ["news"])]
    assert [one.left_edge for one in closed or ()] == ["edge-2"]


def test_a_session_that_moved_tells_the_edge_that_it_left() -> None:
    story = Story()
    story.commit(Opened(at=1, connection="a", user="ann"))
    again = Closed(at=2, connection="a", code=1001), Opened(at=3, connection="b", user="ann")
    assert [(one.change, one.left_edge) for one in story.commit(*again, edge="edge-2") or ()] == [("resumed", "edge-1")]
    there = Closed(at=4, connection="b", code=1001), Opened(at=5, connection="c", user="ann")
    assert [(one.change, one.left_edge) for one in story.commit(*there, edge="edge-2") or ()] == [("resumed", None)]


def test_a_large_commit_is_not_told() -> None:
    assert Story().commit(*(Opened(at=1, connection=str(n)) for n in range(MAX_CHANGES + 1))) is None


def test_a_commit_with_more_channels_than_are_told_is_not_told() -> None:
    """Few facts may concern many channels: a connection that closes leaves all of its own."""
    for channels, is_told in ((MAX_CHANNELS, True), (MAX_CHANNELS + 1, False)):
        state = fold(State(60_000), [EventBatch("edge-1", "i", 1, [Opened(at=1, connection="a", user="ann")])])
        for number in range(channels):
            state.subscriptions.put(Subscription("a", str(number), 1, 1))
        closes = [EventBatch("edge-1", "i", 2, [Closed(at=2, connection="a", code=1000)])]
        assert (changes_of(fold(state, closes), closes) is not None) == is_told


def test_changes_survive_their_way() -> None:
    session = Session("a", "ann", "", "web", "1", "edge-1", "i", "a", 1, 1, None, 5, away_until=9)
    changes = Changes(("e", 1), ("e", 2), [Change("away", "a", session, ["news"]), Change("removed", "b")])
    assert decode_changes(encode_changes(changes)) == changes
    assert decode_changes(b"{}") is None and decode_changes(b"\xff") is None
