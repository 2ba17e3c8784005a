"""Facts become events: in pairs, in order, and the same ones whenever they are taken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proto.events import (
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    Erased,
    EventBatch,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    user_digest,
)
from services.sessions.webhooks import tracker as module
from services.sessions.webhooks.payload import WebhookEvent, encode_event
from services.sessions.webhooks.tracker import Changes, Tracker
from tests.sessions.stories import stories


def batch(number: int, *facts: SessionEvent, instance: str = "i1") -> EventBatch:
    return EventBatch(edge="edge-1", instance=instance, number=number, events=list(facts))


def take(tracker: Tracker, taken: EventBatch) -> list[dict[str, Any]]:
    return [msgspec.json.decode(encode_event(event)) for event in tracker.take(taken)[0]]


def short(events: list[dict[str, Any]]) -> list[str]:
    return [" ".join(str(one[key]) for key in ("type", "connection", "channel") if key in one) for one in events]


DETAILS = {
    "address": "192.0.2.7",
    "transport": "websocket",
    "user_agent": "Mozilla",
    "origin": "https://app.example.com",
}
CLIENT = {"client_name": "js", "client_version": "5", "session_key": "phone", **DETAILS}
ANN = Opened(at=1_000, connection="c1", user="ann", **CLIENT)


def test_the_life_of_a_connection():
    events = take(
        Tracker({}, {}),
        batch(
            7,
            ANN,
            Subscribed(at=1_100, connection="c1", channel="news", recovered=False),
            Unsubscribed(at=1_200, connection="c1", channel="news", code=2500),
            Subscribed(at=1_300, connection="c1", channel="tea"),
            Closed(at=3_000, connection="c1", code=3503, reason="force disconnect"),
        ),
    )
    of_ann = {"connection": "c1", "user": "ann", "edge": "edge-1"}
    assert events == [
        {"type": "connected", "id": "i1-7-0", "at": 1_000, **of_ann, **CLIENT},
        {"type": "occupied", "id": "i1-7-1", "at": 1_100, "channel": "news"},
        {"type": "subscribed", "id": "i1-7-1.1", "at": 1_100, **of_ann, "channel": "news", "recovered": False},
        {"type": "unsubscribed", "id": "i1-7-2", "at": 1_200, **of_ann, "channel": "news", "code": 2500},
        {"type": "vacated", "id": "i1-7-2.1", "at": 1_200, "channel": "news"},
        {"type": "occupied", "id": "i1-7-3", "at": 1_300, "channel": "tea"},
        {"type": "subscribed", "id": "i1-7-3.1", "at": 1_300, **of_ann, "channel": "tea"},
        {"type": "unsubscribed", "id": "i1-7-4", "at": 3_000, **of_ann, "channel": "tea", "code": 3503},
        {"type": "vacated", "id": "i1-7-4.1", "at": 3_000, "channel": "tea"},
        {
            "type": "disconnected",
            "id": "i1-7-4.2",
            "at": 3_000,
            **of_ann,
            "code": 3503,
            "reason": "force disconnect",
            "duration_ms": 2_000,
        },
    ]


def test_a_channel_is_occupied_from_its_first_subscriber_to_its_last_of_all_edges():
    tracker = Tracker({}, {})
    events = take(tracker, batch(1, ANN, Subscribed(at=1, connection="c1", channel="x")))
    two = Opened(at=2, connection="c2"), Subscribed(at=2, connection="c2", channel="x")
    events += take(tracker, batch(1, *two, instance="i2"))
    events += take(tracker, batch(2, Closed(at=3, connection="c1", code=1000)))
    events += take(tracker, batch(2, Closed(at=4, connection="c2", code=1000), instance="i2"))
    assert [(one["type"], one["at"]) for one in events if one["type"] in ("occupied", "vacated")] == [
        ("occupied", 1),
        ("vacated", 4),
    ]


def test_a_lost_edge_ends_its_connections_and_one_that_is_found_brings_them_back():
    tracker = Tracker({}, {})
    take(tracker, batch(1, ANN, Subscribed(at=1_000, connection="c1", channel="x"), Opened(at=900, connection="c0")))
    take(tracker, batch(1, Opened(at=1_000, connection="other"), instance="i2"))
    lost = take(tracker, batch(1, EdgeLost(at=5_000, instance="i1"), instance="watch-i1"))
    assert short(lost) == ["disconnected c0", "unsubscribed c1 x", "vacated x", "disconnected c1"]
    assert (lost[-1]["code"], lost[-1]["reason"], lost[-1]["duration_ms"]) == (1006, "edge lost", 4_000)
    assert len({one["id"] for one in lost}) == len(lost)
    late = batch(2, Unsubscribed(at=6_000, connection="c1", channel="x"), Closed(at=6_000, connection="c0", code=1000))
    assert take(tracker, late) == [], "it was said already"
    assert take(tracker, batch(2, EdgeLost(at=7_000, instance="i1"), instance="watch-i1")) == []
    found = take(tracker, batch(3, EdgeFound(at=8_000, instance="i1"), instance="watch-i1"))
    assert short(found) == ["connected c1"] and found[0]["returned"] is True
    assert {name: found[0][name] for name in CLIENT} == CLIENT
    assert short(take(tracker, batch(3, Closed(at=9_000, connection="c1", code=1001)))) == ["disconnected c1"]


def test_lost_connections_are_remembered_within_a_bound(monkeypatch):
    monkeypatch.setattr(module, "MAX_LOST", 2)
    tracker = Tracker({}, {})
    take(tracker, batch(1, *(Opened(at=n, connection=f"c{n}") for n in range(5))))
    events, changes = tracker.take(batch(1, EdgeLost(at=9, instance="i1"), instance="watch-i1"))
    assert len(events) == 5 and len(tracker) == 2
    assert sorted(name for name, row in changes.rows.items() if row is None) == ["c0", "c1", "c2"]


def test_lost_connections_are_forgotten_after_a_time_the_oldest_first():
    tracker = Tracker({}, {})
    rows: dict[str, bytes | None] = {}
    for number, at in enumerate((7, 3, 5)):
        rows |= tracker.take(batch(1, Opened(at=1, connection=f"c{at}"), instance=f"i{number}"))[1].rows
        rows |= tracker.take(batch(number + 1, EdgeLost(at=at, instance=f"i{number}"), instance="watch"))[1].rows
    rows |= tracker.take(batch(1, Opened(at=1, connection="open"), instance="i9"))[1].rows
    again = Tracker({name: row for name, row in rows.items() if row is not None}, {})
    assert again.forget_lost(3) == Changes({}, {})
    assert again.forget_lost(6) == Changes({"c3": None, "c5": None}, {}) and len(again) == 2
    assert take(again, batch(9, EdgeFound(at=9, instance="i1"), instance="watch")) == [], "it is too late"
    assert short(take(again, batch(10, EdgeFound(at=9, instance="i0"), instance="watch"))) == ["connected c7"]
    assert again.forget_lost(99) == Changes({}, {})


def test_an_erased_user_is_forgotten_though_his_edge_may_come_back():
    tracker = Tracker({}, {})
    bob = Opened(at=2, connection="c2", user="bob")
    take(tracker, batch(1, ANN, bob))
    take(tracker, batch(1, EdgeLost(at=3, instance="i1"), instance="watch-i1"))
    here = replace(ANN, connection="c3"), Subscribed(at=4, connection="c3", channel="x")
    take(tracker, batch(1, *here, Subscribed(at=4, connection="c3", channel="y"), instance="i2"))
    events, changes = tracker.take(batch(1, Erased(at=5, user_digest=user_digest("ann")), instance="privacy"))
    assert dict(changes.rows) == {"c1": None, "c3": None}
    told = [msgspec.json.decode(encode_event(one)) for one in events]
    assert short(told) == ["unsubscribed c3 x", "vacated x", "unsubscribed c3 y", "vacated y", "disconnected c3"]
    assert (told[-1]["code"], told[-1]["reason"]) == (1006, "erased")
    assert short(take(tracker, batch(2, EdgeFound(at=6, instance="i1"), instance="watch-i1"))) == ["connected c2"]
    assert take(tracker, batch(2, Closed(at=7, connection="c1", code=1000))) == []


def test_an_erasure_makes_the_same_events_in_whatever_order_rows_were_read():
    """A process that ends in the midst of them has the next one go on by their number."""
    facts = (fact for n in range(4) for fact in (replace(ANN, connection=f"c{n}", at=9 - n // 2),
             Subscribed(at=9, connection=f"c{n}", channel="x")))  # fmt: skip
    _, changes = Tracker({}, {}).take(batch(1, *facts))
    rows = {name: row for name, row in changes.rows.items() if row is not None}
    orders = (dict(sorted(rows.items())), dict(sorted(rows.items(), reverse=True)))
    erasure = batch(1, Erased(at=10, user_digest=user_digest("ann")), instance="privacy")
    one, other = (take(Tracker(order, {}), erasure) for order in orders)
    assert one == other
    ended = [each["connection"] for each in one if each["type"] == "disconnected"]
    assert ended == ["c2", "c3", "c0", "c1"], "the oldest first"


def test_a_batch_that_is_stored_twice_makes_its_events_once():
    tracker = Tracker({}, {})
    once = batch(1, ANN, Closed(at=2, connection="c1", code=1000))
    assert len(take(tracker, once)) == 2
    assert take(tracker, once) == [] and tracker.duplicates == 1


def test_facts_that_webhooks_do_not_tell_change_nothing():
    others: list[SessionEvent] = [
        EdgeStarted(at=1),
        Refused(at=2, action="connect", code=3500, connection="c1", user="ann"),
        Refreshed(at=3, connection="c1", expires_at=9),
        Lagged(at=4, connection="c1", waiting=9),
        CaughtUp(at=5, connection="c1", lagged_ms=1),
        EdgeDraining(at=6, connections=1),
        EdgeStopped(at=7),
        Erased(at=8, user_digest=user_digest("bob")),
    ]
    tracker = Tracker({}, {})
    take(tracker, batch(1, ANN))
    events, changes = tracker.take(batch(2, *others))
    assert events == [] and changes.rows == {}, "nor is anything written"
    assert short(take(tracker, batch(3, Closed(at=9, connection="c1", code=1000)))) == ["disconnected c1"]


def test_facts_about_a_connection_whose_opening_is_unknown_make_no_event():
    facts = (
        Subscribed(at=1, connection="c9", channel="x"),
        Unsubscribed(at=1, connection="c9", channel="x"),
        Closed(at=1, connection="c9", code=1000),
        EdgeLost(at=1, instance="i9"),
        EdgeFound(at=1, instance="i9"),
    )
    assert take(Tracker({}, {}), batch(1, *facts)) == []


def paired(events: list[dict[str, Any]]) -> None:
    """Every begin is followed by its end, or is still on; nothing ends that has not begun."""
    on: set[tuple[str, ...]] = set()
    inside: Counter[str] = Counter()
    for one in events:
        kind, connection, channel = one["type"], one.get("connection", ""), one.get("channel", "")
        match kind:
            case "connected" | "subscribed" | "occupied":
                key = ("occupied", channel) if kind == "occupied" else (connection, channel)
                assert key not in on, one
                on.add(key)
            case _:
                key = ("occupied", channel) if kind == "vacated" else (connection, channel)
                assert key in on, one
                on.remove(key)
        inside[channel] += {"subscribed": 1, "unsubscribed": -1}.get(kind, 0)
        if kind == "occupied":
            assert inside[channel] == 0
        if kind == "vacated":
            assert inside[channel] == 0
        if kind == "disconnected":
            assert not [key for key in on if key[0] == connection], "its subscriptions end before it"
    occupied = {key[1] for key in on if key[0] == "occupied"}
    assert occupied == {channel for channel, count in inside.items() if count and channel}


@given(stories, st.integers(0, 20))
def test_events_come_in_pairs_and_a_restart_at_any_message_changes_none_of_them(batches: list[EventBatch], cut: int):
    whole = Tracker({}, {})
    expected: list[WebhookEvent] = []
    rows: dict[str, bytes] = {}
    writers: dict[str, int] = {}
    restarted = Tracker({}, {})
    found: list[WebhookEvent] = []
    for place, one in enumerate(batches):
        expected += whole.take(one)[0]
        if place == cut:
            restarted = Tracker(rows, writers)
        events, changes = restarted.take(one)
        found += events
        writers |= changes.writers
        for name, row in changes.rows.items():
            if row is None:
                rows.pop(name, None)
            else:
                rows[name] = row
    assert found == expected
    assert len({event.id for event in expected}) == len(expected)
    paired([msgspec.json.decode(encode_event(event)) for event in expected])
