"""The connections of each user, against the plain way of keeping them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.clients.users import Users


class Connection:
    pass


def test_a_user_has_none_one_or_several() -> None:
    users: Users[Connection] = Users()
    one, two = Connection(), Connection()
    assert users.of("42") == [] and users.count("42") == 0 and len(users) == 0
    users.add("42", one)
    assert users.of("42") == [one] and users.count("42") == 1
    users.add("42", two)
    users.add("", two)
    assert set(users.of("42")) == {one, two} and users.count("42") == 2 and len(users) == 2
    users.remove("42", one)
    assert users.of("42") == [two]
    users.remove("42", two)
    assert users.of("42") == [] and len(users) == 1


@pytest.mark.parametrize("others", [0, 1, 2])
def test_removing_what_is_not_there_hurts_nobody(others: int) -> None:
    users: Users[Connection] = Users()
    there = [Connection() for _ in range(others)]
    for each in there:
        users.add("42", each)
    users.remove("42", Connection())
    users.remove("7", Connection())
    assert set(users.of("42")) == set(there)


def test_what_is_handed_out_may_be_walked_through_while_connections_leave() -> None:
    users: Users[Connection] = Users()
    for each in (everybody := [Connection() for _ in range(3)]):
        users.add("42", each)
    for each in users.of("42"):
        users.remove("42", each)
    assert users.of("42") == [] and len(everybody) == 3


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 4)), max_size=60))
def test_any_story_ends_with_the_truth(story: list[tuple[bool, str, int]]) -> None:
    users: Users[Connection] = Users()
    connections = [Connection() for _ in range(5)]
    truth: dict[str, set[Connection]] = {}
    for comes, user, number in story:
        if comes:
            users.add(user, connections[number])
            truth.setdefault(user, set()).add(connections[number])
        else:
            users.remove(user, connections[number])
            truth.get(user, set()).discard(connections[number])
        for name in "ab":
            assert set(users.of(name)) == truth.get(name, set())
            assert users.count(name) == len(users.of(name)) == len(set(users.of(name)))
        assert len(users) == sum(map(bool, truth.values()))
