"""The event of a change has a session as the API has it: the same fields, the same form of times."""

from __future__ import annotations

from typing import Any

import msgspec

from services.sessions.api.live_views import MAX_CHANNELS, SessionChange, SessionRemoved, view_of
from services.sessions.api.views import SessionView
from services.sessions.changes import Change
from services.sessions.rows import Session


def row(**more: Any) -> Session:
    return Session("a", "ann", "laptop", "web", "1.4", "edge-1", "i1", "b", 2, 1_500, "line", **more)


def told(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(view_of(change))
    return found


def test_a_session_is_told_as_it_is_listed() -> None:
    event = told(Change("resumed", "a", row(address="10.1.0.1"), ["news"]))
    assert set(event) == set(SessionView.__struct_fields__) | {"change", "channels", "cut"}
    assert event["opened_at"] == "1970-01-01T00:00:01.500000Z" and event["ended_at"] is None
    named = {name: event[name] for name in ("change", "id", "user", "session_key", "connection", "address", "channels")}
    assert list(named.values()) == ["resumed", "a", "ann", "laptop", "b", "10.1.0.1", ["news"]]
    assert (event["connection_count"], event["state"], event["cut"]) == (2, "open", False)


def test_the_state_is_that_of_the_commit() -> None:
    ended = {"ended_at": 2_000, "end_code": 1006, "end_reason": "edge lost", "end_by": "loss"}
    away = told(Change("away", "a", row(**ended, away_until=62_000)))
    assert (away["state"], away["away_until"]) == ("away", "1970-01-01T00:01:02Z")
    over = told(Change("ended", "a", row(**ended)))
    assert (over["state"], over["away_until"], over["end_reason"]) == ("ended", None, "edge lost")


def test_more_channels_than_are_told_are_said_to_be_cut() -> None:
    channels = [f"c{n:03}" for n in range(MAX_CHANNELS + 1)]
    event = told(Change("opened", "a", row(), channels))
    assert (event["channels"], event["cut"]) == (channels[:MAX_CHANNELS], True)


def test_of_a_session_that_is_removed_only_the_id_is_left() -> None:
    assert view_of(Change("removed", "a")) == SessionRemoved(change="removed", id="a")
    assert isinstance(view_of(Change("opened", "a", row())), SessionChange)
