"""Versions: each connection counts once, as the first of a session or as one that continues it."""

from __future__ import annotations

from proto.events import Closed, EdgeLost
from services.sessions.models import versions
from services.sessions.rows import DAY_MS, HOUR_MS, MINUTE_MS
from services.sessions.state import State
from tests.sessions.models.telling import ann, told

AWAY = Closed(at=100, connection="c1", code=1001)


def counted(state: State) -> dict[tuple[int, str, bool], int]:
    """By width, version, and whether a session was continued."""
    return {(key.width, key.client_version, key.resumed): count for key, count in state.openings.items() if count}


def test_the_first_connection_and_the_one_that_continues_whenever_the_end_is_told():
    comes, comes_back = ("i1", ann("c1", 0, "1")), ("i2", ann("c2", 200, "2"))
    expected = {(width, *key): 1 for width in (MINUTE_MS, HOUR_MS, DAY_MS) for key in (("1", False), ("2", True))}
    assert counted(told(comes, AWAY, comes_back)) == expected
    assert counted(told(comes, comes_back, AWAY)) == expected
    assert counted(told(comes, comes_back, EdgeLost(at=100, instance="i1"))) == expected
    assert counted(told(comes, AWAY, comes_back, comes_back, AWAY)) == expected


def test_what_is_settled_is_settled_once():
    state = told(ann("c1", 0, "1"))
    before = counted(state)
    versions.settle(state)
    assert counted(state) == before
