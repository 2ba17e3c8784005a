"""Where connections are, and were: what is in memory, and what a store must write of it."""

from __future__ import annotations

from services.sessions.rows import Subscription
from services.sessions.subscriptions import Subscriptions


def stay(since: int, until: int | None = None, connection: str = "c1", channel: str = "news") -> Subscription:
    return Subscription(connection, channel, 0, since, until)


def test_what_is_new_is_added_and_what_was_stored_is_changed():
    rows = Subscriptions()
    rows.put(stay(1))
    rows.end(rows.of("c1")["news"], 5)
    rows.begin(stay(6))
    rows.end(rows.of("c1")["news"], 7)
    assert set(rows.changed) == {("c1", "news", 1)} and rows.changed["c1", "news", 1].until == 5
    assert set(rows.added) == {("c1", "news", 6)} and rows.added["c1", "news", 6].until == 7
    assert rows.open == {} and rows.count == 0
    rows.settle()
    assert (rows.added, rows.changed) == ({}, {}) and set(rows.ended) == {("c1", "news", 1), ("c1", "news", 6)}
    rows.settle()
    assert rows.ended == {}


def test_one_that_ends_and_begins_within_a_millisecond_is_one_row():
    rows = Subscriptions()
    for _ in range(2):
        rows.begin(stay(3))
        rows.end(rows.of("c1")["news"], 3)
        assert not rows.is_known("c1", "news", 3)
    assert [row.until for row in rows.added.values()] == [3]
    rows.settle()
    rows.begin(stay(3))
    assert rows.added == {} and [row.until for row in rows.changed.values()] == [None]
    assert rows.is_known("c1", "news", 3) and not rows.is_known("c1", "news", 4)


def test_what_is_here_is_newer_than_what_is_stored():
    rows = Subscriptions()
    rows.put(stay(1))
    rows.end(rows.of("c1")["news"], 5)
    rows.put(stay(1))
    assert rows.of("c1") == {} and rows.ended["c1", "news", 1].until == 5
    rows.begin(stay(8))
    rows.put(stay(7))
    assert rows.of("c1")["news"].since == 8 and rows.count == 1
    rows.put(stay(2, 3))
    assert rows.is_known("c1", "news", 2)


def test_of_connections_that_are_removed_nothing_is_written():
    rows = Subscriptions()
    for name in ("c1", "c2"):
        rows.put(stay(1, connection=name))
        rows.end(rows.of(name)["news"], 2)
        rows.begin(stay(3, connection=name))
    rows.remove({"c1"})
    assert set(rows.open) == {"c2"} and rows.count == 1
    assert set(rows.added) == {("c2", "news", 3)} and set(rows.changed) == set(rows.ended) == {("c2", "news", 1)}
    rows.forget("c2")
    assert rows.count == 0 and rows.touched() == {("c2", "news")}
