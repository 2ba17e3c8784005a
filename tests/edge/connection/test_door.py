"""The door: how many come in, of one address and in all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.chassis.process.settings import Rate
from services.edge.connection.door import CROWD, RESERVED_DESCRIPTORS, Door, counted_as
from services.edge.limit_settings import NO_LIMITS, LimitsSection

START = 1_767_225_600.0
HERE, THERE = "192.0.2.1", "192.0.2.2"


def door(descriptors: int = 2**20, **limits: Rate | int) -> Door:
    return Door(replace(NO_LIMITS, **limits), descriptors)


def test_so_many_connects_of_an_address_and_then_others() -> None:
    it = door(address_connects=Rate(3, 30))
    assert [it.knock(HERE, START) for _ in range(3)] == [None] * 3
    turned_away = it.knock(HERE, START)
    assert turned_away is not None
    assert (turned_away.status, turned_away.retry_after) == (429, 10)
    assert "192.0.2.1" in turned_away.why and "limits.address_connects" in turned_away.why
    assert it.knock(THERE, START) is None
    assert it.knock(HERE, START + 10) is None
    assert it.refused == {"limits.address_connects": 1}


def test_so_many_connects_in_all() -> None:
    it = door(connects=Rate(2, 1))
    assert [it.knock(address, START) for address in (HERE, THERE)] == [None] * 2
    turned_away = it.knock("192.0.2.3", START)
    assert turned_away is not None and (turned_away.status, turned_away.retry_after) == (503, 1)


def test_one_address_does_not_take_what_is_for_all() -> None:
    it = door(address_connects=Rate(2, 1), connects=Rate(4, 1))
    for _ in range(1000):
        it.knock(HERE, START)
    assert [it.knock(THERE, START) for _ in range(2)] == [None] * 2


def test_so_many_of_an_address_at_once() -> None:
    it = door(address_connections=2)
    for _ in range(2):
        assert it.knock(HERE, START) is None
        it.enter(HERE)
    turned_away = it.knock(HERE, START)
    assert turned_away is not None and turned_away.status == 429 and turned_away.retry_after >= 1
    assert it.knock(THERE, START) is None
    it.leave(HERE)
    assert it.knock(HERE, START) is None


@pytest.mark.parametrize(
    ("limit", "descriptors", "most"),
    [(3, 2**20, 3), (0, RESERVED_DESCRIPTORS + 5, 5)],
    ids=["as configured", "as descriptors allow"],
)
def test_so_many_in_all_at_once(limit: int, descriptors: int, most: int) -> None:
    it = door(descriptors, connections=limit)
    for number in range(most):
        assert it.knock(str(number), START) is None
        it.enter(str(number))
    turned_away = it.knock(HERE, START)
    assert turned_away is not None and turned_away.status == 503
    it.leave("0")
    assert it.knock(HERE, START) is None


def test_one_address_does_not_take_all_places() -> None:
    it = door(RESERVED_DESCRIPTORS + 100, address_connections=10_000)
    while it.knock(HERE, START) is None:
        it.enter(HERE)
    turned_away = it.knock(HERE, START)
    assert turned_away is not None and turned_away.status == 429
    assert [it.knock(THERE, START) for _ in range(10)] == [None] * 10


def test_where_no_limit_of_an_address_is_wanted_it_may_take_all() -> None:
    it = door(RESERVED_DESCRIPTORS + 100)
    for _ in range(100):
        assert it.knock(HERE, START) is None
        it.enter(HERE)


def test_before_a_full_edge_turns_somebody_away_it_makes_room() -> None:
    room = [True, True, False]
    it = Door(replace(NO_LIMITS, connections=1), 2**20, make_room=lambda: room.pop(0))
    it.enter(HERE)
    assert [it.knock(THERE, START) is None for _ in range(3)] == [True, True, False]
    assert it.refused == {"limits.connections": 1}


def test_who_is_beyond_a_limit_of_his_own_is_made_no_room() -> None:
    def make_room() -> bool:
        raise AssertionError

    it = Door(replace(NO_LIMITS, connections=1, address_connects=Rate(1, 1)), 2**20, make_room=make_room)
    assert it.knock(HERE, START) is None
    it.enter(HERE)
    assert it.knock(HERE, START) is not None


def test_who_is_turned_away_for_others_is_not_charged_for_it() -> None:
    it = door(address_connects=Rate(2, 1000), connects=Rate(1, 1))
    assert it.knock(HERE, START) is None
    for _ in range(10):
        turned_away = it.knock(THERE, START)
        assert turned_away is not None and turned_away.status == 503
    assert it.knock(THERE, START + 1) is None
    assert it.knock(THERE, START + 2) is None
    assert len(it._address_connects) == 2


def test_who_finds_the_edge_full_is_not_charged_for_it() -> None:
    it = door(address_connects=Rate(1, 1000), connects=Rate(1, 1000), connections=1)
    it.enter(HERE)
    for _ in range(10):
        turned_away = it.knock(THERE, START)
        assert turned_away is not None and "limits.connections" in turned_away.why
    it.leave(HERE)
    assert it.knock(THERE, START) is None


@pytest.mark.parametrize(
    ("address", "told"), [("10.0.0.1", True), ("127.0.0.1", True), ("fd00::/64", True), ("8.8.8.8", False)]
)
def test_many_clients_of_one_private_address_are_told_once(address: str, told: bool) -> None:
    crowds: list[str] = []
    it = Door(LimitsSection(), 2**20, crowd=crowds.append)
    for _ in range(3 * CROWD):
        it.enter(address)
    assert crowds == ([address] if told else [])


def test_so_many_requests_with_commands_of_an_address() -> None:
    it = door(address_emulations=Rate(2, 10))
    assert [it.pass_on(HERE, START) for _ in range(2)] == [None] * 2
    turned_away = it.pass_on(HERE, START)
    assert turned_away is not None and turned_away.status == 429 and "limits.address_emulations" in turned_away.why
    assert it.pass_on(THERE, START) is None
    assert all(it.pass_on("", START) is None for _ in range(5))


def test_where_the_address_is_unknown_the_edge_s_limits_hold() -> None:
    it = door(address_connections=1, address_connects=Rate(1, 1), connections=2)
    for _ in range(2):
        assert it.knock("", START) is None
        it.enter("")
    assert it.full("") is not None


@given(st.lists(st.sampled_from((HERE, THERE, "")), max_size=30))
def test_when_all_have_left_nothing_is_kept(addresses: list[str]) -> None:
    it = door(address_connections=30)
    for address in addresses:
        it.enter(address)
    for address in reversed(addresses):
        it.leave(address)
    assert it._inside == 0 and it._inside_by_address == {}


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_what_an_address_counts_as(address: str, counted: str) -> None:
    assert counted_as(address) == counted


def test_a_machine_with_a_whole_network_is_one_address() -> None:
    it = door(address_connects=Rate(5, 10))
    came_in = [it.knock(counted_as(f"2001:db8::{number:x}"), START) is None for number in range(1, 100)]
    assert came_in.count(True) == 5


def test_the_defaults_let_an_office_come_back_at_once() -> None:
    it = Door(LimitsSection(), 20_000)
    for number in range(5_000):
        assert it.knock(HERE, START) is None, number
        it.enter(HERE)


def test_other_limits_hold_at_once_for_those_who_come_and_nobody_has_to_go() -> None:
    it = door(connections=2)
    for _ in range(2):
        it.enter(HERE)
    assert it.knock(THERE, START) is not None
    it.limit(replace(NO_LIMITS, connections=3))
    assert it.knock(THERE, START) is None
    it.limit(replace(NO_LIMITS, connections=1))
    assert it.knock(THERE, START) is not None
    it.leave(HERE)
    it.leave(HERE)
    assert it.knock(THERE, START) is None
    assert it.refused == {"limits.connections": 2}
