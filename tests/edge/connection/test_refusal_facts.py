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
    SUMMED_BYTES,
    RefusalFacts,
)

UNIX = 1_767_225_600.0


class Edge:
    """Refuses clients, at times that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[SessionEvent] = []
        self.details: dict[str, str] = {}
        self.facts = RefusalFacts(self.told.append, lambda: self.now, lambda: UNIX + self.now)

    def refuse(self, action: str, code: int = 103, reason: str = "no", **whom: Any) -> None:
        self.facts.note(Refused(0, action, code, reason, **whom), lambda: self.details)

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


def test_the_others_of_strangers_are_one_fact_with_their_number_once_the_time_is_over(edge: Edge) -> None:
    for number in range(OF_A_KIND + 30):
        edge.refuse("connect", reason="no" if number < OF_A_KIND + 1 else "not now", connection=f"c{number}")
        edge.now += 0.1
    edge.facts.sweep()
    assert len(edge.refused) == OF_A_KIND, "not yet"
    last = int((UNIX + edge.now - 0.1) * 1000)
    edge.now += PER_S
    edge.facts.sweep()
    assert edge.refused[OF_A_KIND:] == [Refused(last, "connect", 103, "", count=30)], "many reasons"
    for number in range(OF_A_KIND + 2):
        edge.refuse("connect", connection=f"d{number}")
    assert edge.refused[-1].connection == "d9", "the next ones are told again"
    edge.now += PER_S
    edge.facts.sweep()
    assert (edge.refused[-1].count, edge.refused[-1].reason) == (2, "no"), "the reason of all of them"
    assert edge.counts == {("connect", 103): 2 * OF_A_KIND + 32}, "and none is told twice"


class TestSums:
    """Beyond the rate nobody's refusals are told one by one, and everybody's number is."""

    @staticmethod
    def of(edge: Edge, **whom: Any) -> list[Refused]:
        """The sums about these, once the time is over."""
        edge.now += PER_S
        edge.facts.sweep()
        return [one for one in edge.refused[OF_A_KIND:] if all(getattr(one, name) == whom[name] for name in whom)]

    @pytest.fixture
    def edge(self) -> Edge:
        edge = Edge()
        for _ in range(OF_A_KIND):
            edge.refuse("publish", user="first")
        return edge

    def test_each_user_has_a_sum_that_says_what_a_single_one_says(self, edge: Edge) -> None:
        edge.details = {"address": "192.0.2.1", "transport": "sse"}
        ann: dict[str, Any] = {
            "user": "ann",
            "connection": "c1",
            "channel": "news",
            "client_name": "js",
            "client_version": "5",
        }
        for _ in range(290):
            edge.refuse("publish", **ann)
            edge.refuse("publish", user="bob", connection="c2")
        edge.now += 1
        edge.refuse("publish", **ann)
        last = int(UNIX + edge.now) * 1000
        (told,) = self.of(edge, user="ann")
        assert told == Refused(last, "publish", 103, "no", count=291, address="192.0.2.1", transport="sse", **ann)
        assert [one.count for one in self.of(edge, user="bob")] == [290]
        assert self.of(edge, user="") == []

    def test_what_they_do_not_have_in_common_is_left_out(self, edge: Edge) -> None:
        edge.details = {"address": "192.0.2.1"}
        for number in range(3):
            whom: dict[str, Any] = {"user": "ann", "connection": f"c{number}", "client_name": "js"}
            edge.refuse("publish", reason=f"no {number}", channel=f"chat:{number}", **whom)
        (told,) = self.of(edge, user="ann")
        assert told == Refused(told.at, "publish", 103, user="ann", count=3), "of which connection, whence, where, why"

    def test_anonymous_clients_are_told_apart_by_their_connections(self, edge: Edge) -> None:
        for _ in range(5):
            edge.refuse("publish", connection="c1", channel="news")
            edge.refuse("publish", connection="c2", channel="news")
        assert [(one.count, one.channel) for one in self.of(edge, connection="c2")] == [(5, "news")]

    def test_so_many_are_named_and_users_are_not_hidden_by_anonymous_connections(self, edge: Edge) -> None:
        for number in range(2000):
            edge.refuse("publish", connection=f"{number:036}", channel="news")
        for number in range(2000):
            edge.refuse("publish", user=f"u{number}", connection=f"{number:036}", channel="news")
        named = [one for one in self.of(edge) if one.user]
        assert len(named) > 90, "half of the room is theirs"
        assert sum(len(encode_fact(one)) for one in edge.refused[OF_A_KIND:]) < SUMMED_BYTES + 1000
        (unnamed,) = self.of(edge, user="", connection="")
        assert unnamed.count > 3000 and edge.counts == {("publish", 103): OF_A_KIND + 4000}


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
    longest = "u" * 512
    edge.refuse("subscribe", user=longest, channel="c" * 320)
    edge.refuse("subscribe", user=longest, channel="c" * 321)
    assert [(fact.user, fact.channel) for fact in edge.refused] == [(longest, "c" * 320), (longest, "")]


def test_a_user_whose_name_is_too_long_is_no_anonymous_client(edge: Edge) -> None:
    """With a connection and no user it would be one; whatever else is told could not be erased."""
    edge.details = {"address": "192.0.2.1"}
    for _ in range(OF_A_KIND + 5):
        edge.refuse("subscribe", user="u" * 513, connection="c1", channel="news", client_name="js")
    edge.facts.flush()
    assert edge.refused[0] == Refused(edge.refused[0].at, "subscribe", 103, "no")
    assert edge.refused[-1] == Refused(edge.refused[0].at, "subscribe", 103, "no", count=5)


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
            for number in range(OF_A_KIND + 1):
                edge.refuse("subscribe", code, "\x00" * 500, connection=f"{number:036}", **stranger)
        edge.now += PER_S
        edge.facts.sweep()
    assert sum(len(encode_fact(fact)) for fact in edge.refused) < 47_000_000
    assert sum(edge.counts.values()) == 360 * MAX_KINDS * (OF_A_KIND + 1)


def test_a_flood_of_one_kind_of_strangers_is_a_megabyte_an_hour(edge: Edge) -> None:
    for _ in range(360):
        for _ in range(100):
            edge.refuse("connect", 3500, "invalid token", connection="0" * 36, address="203.0.113.77")
        edge.now += PER_S
        edge.facts.sweep()
    assert sum(len(encode_fact(fact)) for fact in edge.refused) < 1_000_000


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["connect", "rpc"]),
            st.integers(100, 103),
            st.sampled_from(["", "ann", "bob"]),
            st.floats(0, 15) | st.just(0),
        ),
        max_size=200,
    )
)
def test_every_refusal_is_told_or_counted_once_and_for_its_user(refusals: list[tuple[str, int, str, float]]) -> None:
    edge = Edge()
    for action, code, user, wait_s in refusals:
        edge.now += wait_s
        edge.refuse(action, code, user=user)
    edge.facts.flush()
    assert edge.counts == Counter((action, code) for action, code, *_ in refusals)
    of_users: Counter[str] = Counter()
    for fact in edge.refused:
        of_users[fact.user] += fact.count
    assert of_users == Counter(user for _, _, user, _ in refusals)
    assert 100 * len(encode_fact(edge.refused[0])) < SAMPLED_BYTES if refusals else True
