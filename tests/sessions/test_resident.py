"""What memory forgets. That a fold upon it is right: test_store_postgres.py."""

from __future__ import annotations

import pytest

from proto.events import Closed, EdgeLost, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed
from services.sessions import resident
from services.sessions.projection import apply, fold
from services.sessions.resident import Resident
from services.sessions.rows import Channel, Subscription


def add(rows: Resident, prefix: str, count: int, subscribers: int) -> None:
    for number in range(count):
        rows.add_channel(Channel(f"{prefix}{number}", subscribers, 1, 0, 1, 0, 0))


def test_channels_of_nobody_go_and_those_that_stay_are_not_searched_at_each_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resident, "KEPT_CHANNELS", 10)
    rows = Resident(60_000)
    add(rows, "full", 12, 1)
    add(rows, "empty", 3, 0)
    rows.shrink(rows.folds)
    assert len(rows.channels) == 12
    add(rows, "empty", 12, 0)
    kept = rows.channels
    rows.shrink(rows.folds)
    assert rows.channels is kept and len(kept) == 24
    add(rows, "another", 1, 0)
    rows.shrink(rows.folds)
    assert set(rows.channels) == {f"full{number}" for number in range(12)}
    add(rows, "empty", 13, 0)
    rows.shrink(rows.folds - 1)
    assert len(rows.channels) == 25, "the last fold is not stored yet"


def test_a_session_that_is_resumed_for_ever_has_few_connections_in_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resident, "KEPT_CONNECTIONS", 10)
    rows = Resident(60_000)
    for number in range(200):
        name, at = f"c{number}", number * 1_000
        facts: list[SessionEvent] = [
            Opened(at, name, "ann"),
            Subscribed(at, name, "news"),
            Closed(at + 999, name, 1006),
        ]
        for fact in facts if number < 199 else facts[:2]:
            apply(rows, fact)
        rows.settle()
        rows.shrink(rows.folds - 1)
        assert len(rows.connections) <= 11
    (session,) = rows.sessions.values()
    assert (session.id, session.connection, session.connections, session.ended_at) == ("c0", "c199", 200, None)
    rows.shrink(rows.folds)
    kept = set(rows.connections)
    assert "c199" in kept and set(rows.subscriptions.of("c199")) == {"news"}
    assert rows.known == kept | {"c0"}
    assert set(rows.subscriptions.open) == {"c199"}, "the others have closed"
    assert rows.opened_since > session.opened_at, "whoever absorbs it looks for all its connections"


def test_what_is_not_stored_yet_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resident, "KEPT_CONNECTIONS", 0)
    rows = Resident(60_000)
    for fact in (Opened(0, "c1", "ann"), Closed(1, "c1", 1006), Opened(2, "c2", "ann"), Closed(3, "c2", 1006)):
        apply(rows, fact)
    rows.settle()
    rows.shrink(rows.folds - 1)
    assert set(rows.connections) == {"c1", "c2"}
    apply(rows, Opened(4, "c3", "ann"))
    rows.settle()
    rows.shrink(rows.folds - 1)
    assert set(rows.connections) == {"c1", "c2", "c3"}, "they are not searched at each commit"
    apply(rows, Opened(5, "c4", "bob"))
    apply(rows, Opened(5, "c5", "eve"))
    rows.settle()
    rows.shrink(rows.folds - 1)
    assert set(rows.connections) == {"c3", "c4", "c5"}


def test_a_client_that_goes_from_channel_to_channel_for_ever_is_in_memory_where_it_is_now():
    """200 facts a second are allowed to a client, and a connection may last for weeks."""
    rows = Resident(60_000)
    apply(rows, Opened(0, "c1", "ann"))
    apply(rows, Subscribed(0, "c1", "news"))
    rooms, commits = 1_000, 60
    for commit in range(commits):
        facts: list[SessionEvent] = []
        for number in range(rooms):
            at, room = commit * 2 * rooms + 2 * number, f"room:{number}"
            facts += [Subscribed(at, "c1", room), Unsubscribed(at + 1, "c1", room)]
        fold(rows, [EventBatch("edge-1", "i1", commit + 2, facts)])
        rows.settle()
        rows.shrink(rows.folds - 1)
        assert len(rows.subscriptions.ended) <= rooms, "those of the last commit, until they are stored"
    assert rows.channels["room:7"].subscriptions == commits
    assert (rows.subscriptions.count, set(rows.subscriptions.of("c1"))) == (1, {"news"})
    rows.settle()
    assert rows.subscriptions.ended == {} and not rows.is_fuller_than(1)


def test_memory_is_full_of_subscriptions_too():
    rows = Resident(60_000)
    apply(rows, Opened(0, "c1", "ann"))
    for number in range(resident.MAX_CHANNELS_EACH + 1):
        assert not rows.is_fuller_than(1)
        apply(rows, Subscribed(1, "c1", f"room:{number}"))
    assert rows.is_fuller_than(1)
    apply(rows, Unsubscribed(2, "c1", "room:0"))
    assert not rows.is_fuller_than(1)


def test_channels_of_connections_that_closed_go_once_that_is_stored_those_of_lost_ones_stay():
    rows = Resident(60_000)
    for name, instance in (("c1", "i1"), ("c2", "i2")):
        apply(rows, Opened(0, name, "ann"), instance=instance)
        apply(rows, Subscribed(0, name, "news"))
    apply(rows, Closed(1, "c1", 1000))
    apply(rows, EdgeLost(1, "i2"))
    rows.settle()
    assert set(rows.subscriptions.open) == {"c1", "c2"}, "a fact of the next commit finds it as it will be stored"
    rows.settle()
    assert set(rows.subscriptions.open) == {"c2"} and rows.subscriptions.count == 1
    rows.visit({"c1"})
    rows.subscriptions.put(Subscription("c1", "news", 0, 0))
    rows.settle()
    rows.settle()
    assert set(rows.subscriptions.open) == {"c2"}, "loaded for a fact that changed nothing"
