"""Refusals: a row for each that is told, and counts of those for which it stands."""

from __future__ import annotations

from typing import Any

from proto.events import Refused
from services.sessions.models import refusals
from services.sessions.rows import DAY_MS, HOUR_MS, MINUTE_MS, RefusalKey
from services.sessions.state import State
from tests.sessions.models.telling import ann, told


def test_a_sample_counts_for_all_that_it_stands_for():
    refused = Refused(at=61_000, action="subscribe", code=103, reason="denied", connection="c1", user="ann", count=40)
    state = told(ann("c1", 0), refused, refused)
    assert state.refusal_counts == {
        RefusalKey(MINUTE_MS, MINUTE_MS, "edge-i1", "subscribe", 103): 80,
        RefusalKey(HOUR_MS, 0, "edge-i1", "subscribe", 103): 80,
        RefusalKey(DAY_MS, 0, "edge-i1", "subscribe", 103): 80,
    }
    assert [(row.user, row.reason, row.count) for row in state.refusals] == [("ann", "denied", 40)] * 2
    assert [fact for entry in state.timeline.values() for fact in entry.facts].count(refused) == 2


def test_a_row_has_all_that_the_edge_tells_of_the_request():
    came: dict[str, Any] = {
        "address": "10.0.0.0/24",
        "transport": "sse",
        "user_agent": "curl/8.5",
        "origin": "https://a.example",
    }
    state = State(1)
    refusals.refused(state, Refused(at=1, action="handshake", code=403, **came), 1, "e", "i")
    (row,) = state.refusals
    assert {name: getattr(row, name) for name in came} == came


def test_no_text_is_longer_than_a_column_holds():
    state = State(1)
    told: dict[str, Any] = {
        name: "\0" * 600 for name in ("reason", "channel", "address", "transport", "user_agent", "origin")
    }
    refused = Refused(at=1, action="a" * 600, code=2**32 - 1, user="u\0" * 400, **told)
    refusals.refused(state, refused, 1, "e", "i")
    (row,) = state.refusals
    for name in told:
        assert len(getattr(row, name)) == 512 and "\0" not in getattr(row, name), name
    assert len(row.action) == 192 and len(row.user) <= 512 and "\0" not in row.user and row.code < 2**31
