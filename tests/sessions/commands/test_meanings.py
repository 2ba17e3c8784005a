from __future__ import annotations

from proto import codes, events
from services.sessions.commands.meanings import BY, CLOSES, ERRORS, UNSUBSCRIBES, end_in_words, ended_by, meaning


def test_every_code_has_a_meaning():
    known = list(vars(codes).values())
    assert {one.code for one in known if isinstance(one, codes.CloseCode)} <= CLOSES.keys()
    assert {one.code for one in known if isinstance(one, codes.ErrorCode)} == ERRORS.keys()
    assert {one.code for one in known if isinstance(one, codes.UnsubscribeCode)} | {0} == UNSUBSCRIBES.keys()


def test_whoever_ends_a_connection_has_a_name():
    assert {value for name, value in vars(events).items() if name.startswith("BY_")} | {""} == BY.keys()
    assert ended_by("somebody new") == "somebody new"


def test_codes_of_applications_and_unknown_ones_are_told_apart():
    assert meaning(4100) == meaning(2600) == "a code of the application's own"
    assert meaning(1234) == "a code that Fairlead does not use"


def test_who_ended_it_is_said_once():
    assert end_in_words(codes.FORCE_DISCONNECT.code, events.BY_BACKEND) == "the application disconnected the user"
    assert end_in_words(codes.GOING_AWAY.code, events.BY_DRAIN) == "the edge was being stopped"
    assert end_in_words(codes.SLOW.code, events.BY_EDGE).endswith("or a client that hangs, ended by the edge")
    normal = codes.NORMAL.code
    assert end_in_words(normal, events.BY_CLIENT) == "the client closed it" == end_in_words(normal, "")


def test_the_death_of_an_edge_is_not_a_broken_connection():
    assert "edge died" in meaning(1006, events.BY_LOSS) and "broke" in meaning(1006, events.BY_NETWORK)
