"""Erasure: nothing is left of a user, and what is told later of the time before is not folded."""

from __future__ import annotations

from proto.events import Closed, Erased, Opened, Refused, SessionEvent, Subscribed, user_digest
from services.sessions.models import erasure
from services.sessions.state import State
from tests.contract.session_rows import rows_of
from tests.sessions.models.telling import ann, told

BOB: list[SessionEvent] = [
    Opened(at=3, connection="b1", user="bob"),
    Subscribed(at=4, connection="b1", channel="news"),
    Refused(at=5, action="publish", code=103, connection="b1", user="bob"),
]
ANN: list[SessionEvent] = [
    ann("c1", 10),
    Subscribed(at=11, connection="c1", channel="news"),
    Refused(at=12, action="publish", code=103, connection="c1", user="ann"),
    ann("c2", 13),
]
ERASED = Erased(at=100, user_digest=user_digest("ann"))
PERSONAL = ("sessions", "timeline", "users")


def test_all_of_the_user_goes_and_all_of_the_others_stays():
    state, without = told(*BOB, *ANN, ERASED), told(*BOB)
    assert rows_of(state, PERSONAL) == rows_of(without, PERSONAL)
    assert state.refusals == without.refusals
    assert state.channels["news"].subscribers == 1, "she is no longer subscribed"
    assert "'ann'" not in repr((state.sessions, state.timeline, state.users, state.refusals))
    assert (state.removed, state.removed_connections) == ({"c1", "c2"}, {"c1", "c2"})
    assert not (state.changed_sessions | state.changed_connections) & {"c1", "c2"}
    assert state.erased == [(user_digest("ann"), 100)]


def test_late_facts_of_the_time_before_are_not_folded_and_new_ones_are():
    late = Refused(at=100, action="connect", code=3500, user="ann")
    state = told(ERASED, ann("c1", 100), late, Closed(at=101, connection="c1", code=1000), ann("c2", 101))
    assert set(state.sessions) == {"c2"} and not state.refusals
    assert state.unknown == 1


def test_erasures_that_are_stored_are_obeyed_too():
    state = State(1)
    state.know_erasures({user_digest("ann"): 100})
    told(ann("c1", 50), ann("c2", 150), Opened(at=50, connection="b1", user="bob"), state=state)
    assert set(state.sessions) == {"c2", "b1"} and not state.erased
    assert erasure.is_erased(state, "ann", 100) and not erasure.is_erased(state, "", 100)


def test_a_user_whose_id_no_column_holds_is_found_by_the_id_that_it_does():
    wild = "u\0" * 400
    (session,) = told(Opened(at=1, connection="c1", user=wild)).sessions.values()
    state = told(
        Opened(at=1, connection="c1", user=wild),
        Erased(at=5, user_digest=user_digest(session.user)),
        Opened(at=2, connection="c2", user=wild),
    )
    assert not state.sessions
