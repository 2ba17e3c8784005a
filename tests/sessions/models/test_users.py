"""Users: their devices, when they were seen, and how often they came."""

from __future__ import annotations

from proto.events import Closed, Opened
from services.sessions.models import users
from services.sessions.rows import UserDevice
from tests.sessions.models.telling import ann, told


def test_a_session_that_goes_on_in_another_version_is_one_session_of_two_devices():
    state = told(ann("c1", 10, "1"), Closed(at=90, connection="c1", code=1001), ann("c2", 200, "2"))
    assert state.users == {
        ("ann", "", "js", "1"): UserDevice("ann", "", "js", "1", 10, 90, sessions=1, connections=1),
        ("ann", "", "js", "2"): UserDevice("ann", "", "js", "2", 200, 200, sessions=0, connections=1),
    }


def test_a_session_that_another_absorbs_counts_no_longer():
    state = told(ann("c1", 10), ann("c2", 200), Closed(at=90, connection="c1", code=1001))
    (device,) = state.users.values()
    assert (device.sessions, device.connections, device.first_seen, device.last_seen) == (1, 2, 10, 200)


def test_an_anonymous_client_is_nobody():
    state = told(Opened(at=1, connection="c1", session_key="phone"))
    users.count(state, state.sessions["c1"], "1", 5, 1, 1)
    assert not state.users


def test_times_that_are_told_late_widen_what_is_known():
    state = told(ann("c1", 500), Closed(at=900, connection="c1", code=1000), ann("c0", 100))
    (device,) = state.users.values()
    assert (device.first_seen, device.last_seen) == (100, 900)
