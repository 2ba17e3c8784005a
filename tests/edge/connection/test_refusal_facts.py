"""Refusals in the session log: each is told or counted, and nobody fills the log with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proto.events import Refused, SessionEvent, encode_fact
from services.edge.connection.refusal_facts import (
    MAX_KINDS,
    OF_A_KIND,
    OTHERS,
    PER_S,
    SAMPLED_BYTES,
    RefusalFacts,
)

UNIX = 1_767_225_600.0


class Edge:
    """Refuses clients, at times that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[SessionEvent] = []
        self.facts = RefusalFacts(self.told.append, lambda: self.now, lambda: UNIX + self.now)

    def refuse(self, action: str, code: int = 103, reason: str = "no", **whom: Any) -> None:
        if self.facts.takes(action, code, reason):
            self.facts.write(Refused(0, action, code, reason, **whom))

    @property
    def refused(self) -> list[Refused]:
        return [fact for fact in self.told if isinstance(fact, Refused)]

    @property
    def counts(self) -> dict[tuple[str, int], int]:
        """How many refusals the facts tell of, by kind."""
        found: Counter[tuple[str, int]] = Counter()
        for fact in self.refused:
            found[fact.action, fact.code] += fact.count
        return dict(found)


@pytest.fixture
def edge() -> Edge:
    return Edge()


def test_the_first_of_a_kind_are_told_one_by_one_and_by_whom(edge: Edge) -> None:
    for number in range(OF_A_KIND):
        edge.refuse("subscribe", user=f"u{number}", channel="chat:x")
    assert [fact.user for fact in edge.refused] == [f"u{number}" for number in range(OF_A_KIND)]
    assert {(fact.at, fact.channel, fact.count) for fact in edge.refused} == {(int(UNIX + 1000) * 1000, "chat:x", 1)}


def test_the_others_are_one_fact_with_their_number_once_the_time_is_over(edge: Edge) -> None:
    for number in range(OF_A_KIND + 30):
        edge.refuse("subscribe", reason="no" if number < OF_A_KIND + 1 else "not now", user="ann")
    edge.facts.sweep()
    assert len(edge.refused) == OF_A_KIND, "not yet"
    edge.now += PER_S
    edge.facts.sweep()
    assert edge.refused[OF_A_KIND:] == [Refused(int(UNIX + 1010) * 1000, "subscribe", 103, "", count=30)], (
        "many reasons"
    )
    for _ in range(OF_A_KIND + 2):
        edge.refuse("subscribe", user="bob")
    assert edge.refused[-1].user == "bob", "the next ones are told again"
    edge.now += PER_S
    edge.facts.sweep()
    assert (edge.refused[-1].count, edge.refused[-1].reason) == (2, "no"), "the reason of all of them"
    assert edge.counts == {("subscribe", 103): 2 * OF_A_KIND + 32}, "and none is told twice"


def test_one_kind_does_not_hide_another(edge: Edge) -> None:
    for _ in range(1000):
        edge.refuse("connect", 3500)
    edge.refuse("connect", 109, user="ann")
    edge.refuse("publish", 3500, user="bob")
    assert [fact.user for fact in edge.refused[-2:]] == ["ann", "bob"]


def test_those_that_were_only_counted_are_told_when_the_edge_stops(edge: Edge) -> None:
    for _ in range(OF_A_KIND + 5):
        edge.refuse("rpc", 108)
    edge.facts.flush()
    assert edge.refused[-1].count == 5
    edge.facts.flush()
    edge.now += PER_S
    edge.facts.sweep()
    assert edge.counts == {("rpc", 108): OF_A_KIND + 5}


def test_what_strangers_can_make_long_is_bounded(edge: Edge) -> None:
    edge.refuse("subscribe", reason="r" * 10_000, channel="c" * 60_000, user="u" * 60_000)
    (fact,) = edge.refused
    assert len(encode_fact(fact)) < 1000


def test_no_part_of_a_name_is_told_as_if_it_were_one(edge: Edge) -> None:
    """The first characters may be somebody else's name, and nobody would find them to erase the user."""
    longest = "u" * 320
    edge.refuse("subscribe", user=longest, channel="c" * 320)
    edge.refuse("subscribe", user=longest + "2", channel="c" * 321)
    assert [(fact.user, fact.channel) for fact in edge.refused] == [(longest, "c" * 320), ("", "")]


def test_kinds_beyond_the_bound_count_together(edge: Edge) -> None:
    for code in range(MAX_KINDS + 200):
        edge.refuse("rpc", code)
    assert len(edge.refused) == MAX_KINDS + OF_A_KIND
    edge.facts.flush()
    assert edge.counts[OTHERS] == 200 - OF_A_KIND and edge.refused[-1].reason == ""
    assert sum(edge.counts.values()) == MAX_KINDS + 200


def test_a_flood_of_every_kind_for_an_hour_fills_no_log(edge: Edge) -> None:
    stranger = {"user_agent": "ü" * 256, "origin": "\\" * 256, "channel": '"' * 320, "client_version": "v" * 64}
    for _ in range(360):
        for code in range(MAX_KINDS):
            for _ in range(OF_A_KIND + 1):
                edge.refuse("subscribe", code, "\x00" * 500, **stranger)
        edge.now += PER_S
        edge.facts.sweep()
    assert sum(len(encode_fact(fact)) for fact in edge.refused) < 35_000_000
    assert sum(edge.counts.values()) == 360 * MAX_KINDS * (OF_A_KIND + 1)


def test_a_flood_of_one_kind_is_a_megabyte_an_hour(edge: Edge) -> None:
    for _ in range(360):
        for _ in range(100):
            edge.refuse("connect", 3500, "invalid token", connection="0" * 36, address="203.0.113.77")
        edge.now += PER_S
        edge.facts.sweep()
    assert sum(len(encode_fact(fact)) for fact in edge.refused) < 1_000_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["connect", "rpc"]), st.integers(100, 103), st.floats(0, 15)), max_size=200))
def test_every_refusal_is_told_or_counted_once(refusals: list[tuple[str, int, float]]) -> None:
    edge = Edge()
    for action, code, wait_s in refusals:
        edge.now += wait_s
        edge.refuse(action, code)
    edge.facts.flush()
    assert edge.counts == Counter((action, code) for action, code, _ in refusals)
    assert 100 * len(encode_fact(edge.refused[0])) < SAMPLED_BYTES if refusals else True
