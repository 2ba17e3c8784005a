"""The members on other edges, with joins, leaves, snapshots and deaths in any order."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proto.control import MembersFound, decode_answer, encode_answer
from proto.messages import NO_DATA, ClientInfo
from services.edge.channels import remote_members as roster_module
from services.edge.channels.remote_members import ExpectedSnapshot, RemoteMembers


def member(client: str, told: str = "1") -> ClientInfo:
    return ClientInfo(user="u", client=client, conn_info=Raw(told.encode()))


X, Y, Z = (member(client) for client in "xyz")


def test_a_join_is_news_once() -> None:
    remote_members = RemoteMembers()
    assert remote_members.joined("e1", X)
    assert not remote_members.joined("e1", X)
    assert len(remote_members) == 1


def test_a_leave_is_news_once_and_only_of_a_member() -> None:
    remote_members = RemoteMembers()
    remote_members.joined("e1", X)
    assert remote_members.left("e2", "x") is None
    assert remote_members.left("e1", "x") == X
    assert remote_members.left("e1", "x") is None
    assert len(remote_members) == 0


def test_the_latest_info_of_a_member_is_told() -> None:
    remote_members = RemoteMembers()
    remote_members.joined("e1", member("x", "1"))
    remote_members.joined("e1", member("x", "2"))
    assert remote_members.left("e1", "x") == member("x", "2")
    remote_members.joined("e1", member("x", "3"))
    assert remote_members.apply(remote_members.expect_snapshot("e1"), {"x": member("x", "4")}) == ([], [])
    assert remote_members.left("e1", "x") == member("x", "4")


def test_a_lost_edge_takes_its_members_with_it() -> None:
    remote_members = RemoteMembers()
    for instance, info in (("e1", X), ("e2", Y), ("e1", Z)):
        remote_members.joined(instance, info)
    assert remote_members.lost("e1") == [X, Z]
    assert remote_members.lost("e1") == remote_members.lost("never was") == []
    assert len(remote_members) == 1


def test_a_snapshot_tells_what_was_missed() -> None:
    remote_members = RemoteMembers()
    remote_members.joined("e1", X)
    remote_members.joined("e1", Y)
    remote_members.joined("e2", Y)
    assert remote_members.apply(remote_members.expect_snapshot("e1"), {"y": Y, "z": Z}) == ([Z], [X])
    assert [remote_members.left("e1", client) for client in "xyz"] == [None, Y, Z]
    assert len(remote_members) == 1


def test_a_leave_wins_over_the_snapshot_that_still_holds_the_member() -> None:
    remote_members = RemoteMembers()
    remote_members.joined("e1", X)
    expected = remote_members.expect_snapshot("e1")
    remote_members.left("e1", "x")
    remote_members.left("e1", "y")  # whose join was missed
    assert remote_members.apply(expected, {"x": X, "y": Y, "z": Z}) == ([Z], [])
    assert len(remote_members) == 1


def test_a_join_wins_over_the_snapshot_that_does_not_hold_the_member_yet() -> None:
    remote_members = RemoteMembers()
    expected = remote_members.expect_snapshot("e1")
    assert remote_members.joined("e1", X)
    assert remote_members.apply(expected, {}) == ([], [])
    assert remote_members.left("e1", "x") == X


def test_a_join_after_the_leave_counts() -> None:
    remote_members = RemoteMembers()
    remote_members.joined("e1", X)
    expected = remote_members.expect_snapshot("e1")
    remote_members.left("e1", "x")
    assert remote_members.joined("e1", X)
    assert remote_members.apply(expected, {"x": X}) == ([], [])
    assert remote_members.left("e1", "x") == X


def test_a_leave_before_the_question_does_not_count() -> None:
    remote_members = RemoteMembers()
    remote_members.left("e1", "x")
    assert remote_members.apply(remote_members.expect_snapshot("e1"), {"x": X}) == ([X], [])


def test_a_snapshot_of_an_edge_that_was_lost_meanwhile_changes_nothing() -> None:
    remote_members = RemoteMembers()
    before = remote_members.expect_snapshot("e1")
    remote_members.lost("e1")
    after = remote_members.expect_snapshot("e1")  # found again
    assert remote_members.apply(before, {"x": X}) == ([], [])
    assert remote_members.apply(after, {"y": Y}) == ([Y], [])


def test_a_snapshot_counts_once_and_not_after_it_was_given_up() -> None:
    remote_members = RemoteMembers()
    first, second = remote_members.expect_snapshot("e1"), remote_members.expect_snapshot("e1")
    remote_members.abandon(first)
    assert remote_members.apply(first, {"x": X}) == ([], [])
    assert remote_members.apply(second, {"x": X}) == ([X], [])
    assert remote_members.apply(second, {}) == ([], [])


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "MAX_MEMBERS", 2)
    remote_members = RemoteMembers()
    assert remote_members.joined("e1", X) and remote_members.joined("e2", Y)
    assert not remote_members.joined("e2", Z)
    assert remote_members.left("e2", "z") is None, "nobody was told that it joined"
    assert remote_members.apply(remote_members.expect_snapshot("e1"), {"x": X, "z": Z}) == ([], [])
    assert (len(remote_members), remote_members.untracked) == (2, 2)
    assert not remote_members.joined("e1", X) and remote_members.untracked == 2, "a known one is no further one"
    remote_members.left("e1", "x")
    assert remote_members.joined("e2", Z)
    expected = remote_members.expect_snapshot("e3")
    for n in range(10):
        remote_members.left("e3", f"c{n}")
    assert len(expected.changes) == 2


def test_a_member_does_not_hold_the_answer_that_it_came_in() -> None:
    wire = encode_answer(MembersFound({"x": member("x", '"told"'), "y": ClientInfo("u", "y")}))
    before = sys.getrefcount(wire)
    answer = decode_answer(wire)
    assert isinstance(answer, MembersFound) and sys.getrefcount(wire) > before
    remote_members = RemoteMembers()
    remote_members.apply(remote_members.expect_snapshot("e1"), answer.members)
    del answer
    assert sys.getrefcount(wire) == before
    assert remote_members.left("e1", "x") == member("x", '"told"')
    y = remote_members.left("e1", "y")
    assert y is not None and y.conn_info is NO_DATA, "or it would be encoded as a value"


class Fetch(NamedTuple):
    """A snapshot under way: `members` as the edge held them when it had sent `sent` messages."""

    instance: str
    expectation: ExpectedSnapshot
    sent: int
    members: dict[str, ClientInfo]


class Story:
    """Edges that report their members in order, `RemoteMembers`, and a subscriber that gets the changes.

    The subscriber never gets a join twice, a leave without a join, or an event of a hidden member. Once
    an edge's snapshot was applied and all that it published was heard, `RemoteMembers` holds the truth.
    """

    def __init__(self) -> None:
        self.remote_members = RemoteMembers()
        self.truth = {edge: {"x": X} for edge in EDGES}  # from before the remote_members was there
        self.sent: dict[str, list[tuple[str, ClientInfo]]] = {edge: [] for edge in EDGES}
        self.read = dict.fromkeys(EDGES, 0)
        self.known = dict.fromkeys(EDGES, True)
        self.whole = dict.fromkeys(EDGES, False)
        self.fetches: list[Fetch] = []
        self.view: dict[str, set[str]] = {edge: set() for edge in EDGES}

    def join(self, edge: str, number: int) -> None:
        info = member("wxyz"[number % 4], str(number % 2))
        self.truth[edge][str(info.client)] = info
        self.sent[edge].append(("joined", info))

    def leave(self, edge: str, number: int) -> None:
        if (info := self.truth[edge].pop("wxyz"[number % 4], None)) is not None:
            self.sent[edge].append(("left", info))

    def ask(self, edge: str, number: int) -> None:
        """The question travels in no time, so messages under way from the edge were sent before the answer."""
        if self.known[edge]:
            expectation = self.remote_members.expect_snapshot(edge)
            self.fetches.append(Fetch(edge, expectation, len(self.sent[edge]), dict(self.truth[edge])))

    def hear(self, edge: str, number: int) -> None:
        if self.read[edge] == len(self.sent[edge]):
            return
        kind, info = self.sent[edge][self.read[edge]]
        self.read[edge] += 1
        if not self.known[edge]:
            return
        if kind == "joined":
            self.tell([info] if self.remote_members.joined(edge, info) else [], [], edge)
        else:
            left = self.remote_members.left(edge, str(info.client))
            self.tell([], [left] if left is not None else [], edge)

    def answer(self, edge: str, number: int) -> None:
        """A snapshot comes in, behind all that was sent before it and before much that was sent after it, or not."""
        if not self.fetches:
            return
        fetch = self.fetches.pop(number % len(self.fetches))
        while self.read[fetch.instance] < min(fetch.sent, len(self.sent[fetch.instance])):  # fewer: it died
            self.hear(fetch.instance, 0)
        counts = fetch.expectation in self.remote_members._expected.get(fetch.instance, [])
        self.tell(*self.remote_members.apply(fetch.expectation, fetch.members), fetch.instance)
        self.whole[fetch.instance] |= counts

    def fail(self, edge: str, number: int) -> None:
        if self.fetches:
            self.remote_members.abandon(self.fetches.pop(number % len(self.fetches)).expectation)

    def reconnect(self, edge: str, number: int) -> None:
        """Messages sent meanwhile are missed, and no question is answered."""
        while self.fetches:
            self.fail(edge, 0)
        for instance in EDGES:
            self.read[instance] = len(self.sent[instance])
            self.whole[instance] = False
        self.ask(edge, number)

    def lose(self, edge: str, number: int) -> None:
        """It may live on, and be found again with all its members."""
        if number % 2:
            self.truth[edge] = {}
            del self.sent[edge][self.read[edge] :]
        self.known[edge] = self.whole[edge] = False
        self.tell([], self.remote_members.lost(edge), edge)

    def find(self, edge: str, number: int) -> None:
        if not self.known[edge]:
            self.known[edge] = True
            self.ask(edge, number)

    def hear_everything(self, edge: str, number: int) -> None:
        while self.read[edge] < len(self.sent[edge]):
            self.hear(edge, 0)
        if self.whole[edge]:
            assert self.remote_members._members.get(edge, {}) == self.truth[edge]

    def tell(self, joined: list[ClientInfo], left: list[ClientInfo], edge: str) -> None:
        for info in left:
            self.view[edge].remove(str(info.client))
        for info in joined:
            assert info.client not in self.view[edge]
            self.view[edge].add(str(info.client))
        assert set(self.remote_members._members.get(edge, {})) == self.view[edge]
        assert self.known[edge] or not self.view[edge], "nobody will say that these are gone"
        assert len(self.remote_members) == sum(map(len, self.view.values()))


EDGES = ("e1", "e2")
STEPS = (
    ["join", "leave", "hear", "answer"] * 3 + ["ask"] * 2 + ["find", "fail", "reconnect", "lose", "hear_everything"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(EDGES), st.integers(0, 11)), min_size=20, max_size=80)
)
def test_any_story_ends_with_the_truth(steps: list[tuple[str, str, int]]) -> None:
    story = Story()
    for step, edge, number in [*steps, *(("hear_everything", edge, 0) for edge in EDGES)]:
        getattr(story, step)(edge, number)
