"""The connections of an edge, and of each user against the plain way of keeping them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.codes import CloseCode
from proto.events import BY_EDGE
from services.edge.connection.registry import ConnectionRegistry, Lag
from services.edge.session.server_commands import ServerCommand
from services.edge.session.session import Session
from services.edge.session.state import NEW, REFUSED, Phase


class Connection:
    """One that is kept, and never told anything."""

    session: Session
    closed = False
    lag = Lag(False, 0)

    def message_received(self, message: bytes) -> None:
        raise AssertionError

    def server_command(self, command: ServerCommand) -> None:
        raise AssertionError

    def leave(self, close: CloseCode, by: str = BY_EDGE) -> None:
        raise AssertionError

    def close(self, close: CloseCode, detail: str = "", by: str = BY_EDGE) -> None:
        raise AssertionError

    def cut(self, by: str = BY_EDGE) -> None:
        raise AssertionError


class Waiting(Connection):
    """One that may be cut."""

    def __init__(self, phase: Phase, awaits_connect: bool = True) -> None:
        self.is_cut = False
        self.session = cast("Session", SimpleNamespace(phase=phase, awaits_connect=awaits_connect and phase is NEW))

    def cut(self, by: str = BY_EDGE) -> None:
        self.is_cut = True


def test_a_user_has_none_one_or_several() -> None:
    registry = ConnectionRegistry()
    one, two = Connection(), Connection()
    assert registry.of_user("42") == [] and registry.count_of_user("42") == 0 and registry.users == 0
    registry.admit("42", one)
    assert registry.of_user("42") == [one] and registry.count_of_user("42") == 1
    registry.admit("42", two)
    registry.admit("", two)
    assert set(registry.of_user("42")) == {one, two} and registry.count_of_user("42") == 2 and registry.users == 2
    registry.dismiss("42", one)
    assert registry.of_user("42") == [two]
    registry.dismiss("42", two)
    assert registry.of_user("42") == [] and registry.users == 1


@pytest.mark.parametrize("others", [0, 1, 2])
def test_removing_what_is_not_there_hurts_nobody(others: int) -> None:
    registry = ConnectionRegistry()
    there = [Connection() for _ in range(others)]
    for each in there:
        registry.admit("42", each)
    registry.dismiss("42", Connection())
    registry.dismiss("7", Connection())
    assert set(registry.of_user("42")) == set(there)


def test_a_list_of_connections_may_be_walked_while_connections_leave() -> None:
    registry = ConnectionRegistry()
    for each in (everybody := [Connection() for _ in range(3)]):
        registry.admit("42", each)
    for known in registry.of_user("42"):
        registry.dismiss("42", known)
    assert registry.of_user("42") == [] and len(everybody) == 3


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 4)), max_size=60))
def test_any_story_ends_with_the_truth(story: list[tuple[bool, str, int]]) -> None:
    registry = ConnectionRegistry()
    connections = [Connection() for _ in range(5)]
    truth: dict[str, set[Connection]] = {}
    for comes, user, number in story:
        if comes:
            registry.admit(user, connections[number])
            truth.setdefault(user, set()).add(connections[number])
        else:
            registry.dismiss(user, connections[number])
            truth.get(user, set()).discard(connections[number])
        for name in "ab":
            assert set(registry.of_user(name)) == truth.get(name, set())
            assert registry.count_of_user(name) == len(registry.of_user(name)) == len(set(registry.of_user(name)))
        assert registry.users == sum(map(bool, truth.values()))


def test_a_connection_is_known_from_the_beginning_to_the_end() -> None:
    registry = ConnectionRegistry()
    one, two = Connection(), Connection()
    for each in (one, two):
        registry.add(each)
    assert len(registry) == 2 and set(registry) == {one, two} and registry.users == 0
    for known in registry:
        registry.remove(known)
        registry.remove(known)
    assert len(registry) == 0 and list(registry) == []


@pytest.mark.parametrize("phase", [NEW, REFUSED])
def test_room_is_made_by_the_oldest_whose_client_does_not_connect(phase: Phase) -> None:
    registry = ConnectionRegistry()
    decided, oldest, younger, admitted = everybody = [Waiting(NEW, False), *(Waiting(phase) for _ in range(3))]
    for each in everybody:
        registry.add(each)
    registry.admit("42", admitted)
    assert [registry.make_room() for _ in range(3)] == [True, True, False]
    assert [each.is_cut for each in everybody] == [False, True, True, False]
    assert oldest.is_cut and younger.is_cut and not decided.is_cut
    registry.remove(decided)
    assert not registry.make_room()


def test_a_stream_is_found_by_its_secret_alone() -> None:
    registry = ConnectionRegistry()
    stream = Connection()
    registry.add_stream("secret", stream)
    assert registry.stream("secret") is stream and registry.streams == 1
    assert registry.stream("") is None and registry.stream("secre") is None
    registry.remove_stream("other")
    registry.remove_stream("secret")
    assert registry.stream("secret") is None and registry.streams == 0
