"""What memory forgets. That a fold upon it is right: test_store_postgres.py."""

from __future__ import annotations

import pytest

from proto.events import Closed, Opened, SessionEvent, Subscribed
from services.sessions import resident
from services.sessions.projection import apply
from services.sessions.resident import Resident
from services.sessions.rows import Channel


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
    assert "c199" in kept and rows.open_channels("c199") == {"news"}
    assert rows.known == kept | {"c0"}
    assert rows.known_subscriptions == set(rows.subscriptions) == {(name, "news") for name in kept}
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
