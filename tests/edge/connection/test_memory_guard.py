"""Memory limits: nobody is closed below them, no more than has to be, and none where that does not help."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.edge.connection.memory_guard import (
    HARD_SHARE,
    HYSTERESIS,
    SETTLE_S,
    SHED_PER_S,
    SOFT_SHARE,
    MemoryGuard,
    MemoryLimits,
    Weighed,
    limits,
    whom_to_close,
)

MIB = 1024 * 1024
FEW = settings(max_examples=200, deadline=None)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (None, None, (int(1000 * SOFT_SHARE), int(1000 * HARD_SHARE))),
        (0, 0, (0, 0)),
        (100, 200, (100, 200)),
        (None, 0, (int(1000 * SOFT_SHARE), 0)),
        (0, None, (0, int(1000 * HARD_SHARE))),
        (None, 200, (int(200 * SOFT_SHARE / HARD_SHARE), 200)),
        (950, None, (950, 950)),
    ],
)
def test_limits_that_are_not_given_are_shares_of_what_there_is(soft: int, hard: int, expected: MemoryLimits) -> None:
    assert limits(soft, hard, 1000) == expected


# --- readiness -------------------------------------------------------------------------------------------------------


def test_a_limit_applies_until_memory_is_well_below_it() -> None:
    guard = MemoryGuard(MemoryLimits(1000, 2000))
    seen = [guard.judge(used, 0.0)[:2] for used in (1000, 1001, 960, 950, 1000, 2001, 1901, 1900, 950)]
    assert seen == [
        (False, False),
        (True, False),
        (True, False),
        (False, False),
        (False, False),
        (True, True),
        (True, True),
        (True, False),
        (False, False),
    ]


@FEW
@given(st.lists(st.integers(0, 10**12), max_size=30), st.booleans())
def test_no_limit_is_never_reached(samples: list[int], soft: bool) -> None:
    guard = MemoryGuard(MemoryLimits(1000 if soft else 0, 0))
    for number, used in enumerate(samples):
        verdict = guard.judge(used, float(number))
        assert not verdict.above_hard and verdict.excess == 0
        assert soft or not verdict.above_soft


# --- who is closed ---------------------------------------------------------------------------------------------------

weights = st.builds(Weighed, st.integers(), st.booleans(), st.integers(1, 2 * MIB))


def total(clients: list[Weighed[int]]) -> int:
    return sum(each.size for each in clients)


@FEW
@given(st.lists(weights, max_size=60), st.integers(-MIB, 100 * MIB))
def test_as_few_as_suffice_the_slow_ones_first(clients: list[Weighed[int]], excess: int) -> None:
    chosen = whom_to_close(clients, total(clients), excess)
    assert total(chosen[:-1]) < max(excess, 1), "without the last one it would not have sufficed"
    spared = list(clients)
    for each in chosen:
        spared.remove(each)
    for each in chosen:
        assert all((each.slow, each.size) >= (other.slow, other.size) for other in spared)
    if total(clients) >= excess:
        assert total(chosen) >= excess
    else:
        assert chosen == [each for each in chosen if each.slow] and not any(each.slow for each in spared)


def test_a_second_s_worth_at_most() -> None:
    clients = [Weighed(number, False, 10) for number in range(5000)]
    assert len(whom_to_close(clients, total(clients), 40_000)) == SHED_PER_S


# --- an edge ---------------------------------------------------------------------------------------------------------


@dataclass
class Edge:
    """An edge with one sample a second. What a closed client frees shows `delay` seconds later, or never (`sticky`)."""

    guard: MemoryGuard
    base: int
    clients: list[Weighed[int]]
    delay: int = 0
    sticky: bool = False
    closed: list[int] = field(default_factory=list)  # in each second
    _leaving: list[tuple[int, int]] = field(default_factory=list)  # when, how many bytes
    _gone: int = 0

    @property
    def used(self) -> int:
        held = 0 if not self.sticky else self._gone
        return self.base + sum(each.size for each in self.clients) + sum(size for _, size in self._leaving) + held

    def run(self, seconds: int) -> None:
        for now in range(len(self.closed), len(self.closed) + seconds):
            self._gone += sum(size for at, size in self._leaving if at <= now)
            self._leaving = [(at, size) for at, size in self._leaving if at > now]
            used = self.used
            verdict = self.guard.judge(used, float(now))
            chosen = whom_to_close(self.clients, total(self.clients), verdict.excess)
            if used <= self.guard.limits.hard * (1 - HYSTERESIS):
                assert verdict.excess == 0
            if used <= self.guard.limits.soft * (1 - HYSTERESIS):
                assert not verdict.above_soft
            if chosen:
                size = sum(each.size for each in chosen)
                self.guard.let_go(size, used, float(now))
                self._leaving.append((now + self.delay, size))
                leaving = {each.client for each in chosen}
                self.clients = [each for each in self.clients if each.client not in leaving]
            self.closed.append(len(chosen))


@st.composite
def crowds(draw: st.DrawFn) -> list[Weighed[int]]:
    kinds = draw(st.lists(st.tuples(st.booleans(), st.integers(1000, 300_000), st.integers(1, 900)), max_size=5))
    return [
        Weighed(1000 * kind + number, slow, size)
        for kind, (slow, size, many) in enumerate(kinds)
        for number in range(many)
    ]


@settings(max_examples=60, deadline=None)
@given(crowds(), st.integers(10, 300), st.integers(1, 300), st.integers(0, int(SETTLE_S)))
def test_memory_returns_below_the_limit_and_no_further_at_a_bounded_pace(
    clients: list[Weighed[int]], hard_mib: int, base_mib: int, delay: int
) -> None:
    edge = Edge(MemoryGuard(MemoryLimits(hard_mib * MIB * 4 // 5, hard_mib * MIB)), base_mib * MIB, clients, delay)
    whole, largest = edge.used, max((each.size for each in clients), default=0)
    edge.run(100)
    hard = hard_mib * MIB
    if base_mib <= hard_mib:
        assert edge.used <= hard, "it could, so it has returned"
        assert not sum(edge.closed) or edge.used + largest > hard, "one client fewer would not have sufficed"
    elif whole > hard:
        assert not any(each.slow for each in edge.clients)
        assert sum(edge.closed) == sum(each.slow for each in clients), "it cannot: it is not clients who take it"
    if whole <= hard:
        assert not sum(edge.closed), "nobody is closed below the limit"
    assert max(edge.closed) <= SHED_PER_S


@settings(max_examples=30, deadline=None)
@given(crowds(), st.integers(1, 300), st.integers(0, int(SETTLE_S)))
def test_where_closing_clients_does_not_help_it_stops(clients: list[Weighed[int]], base_mib: int, delay: int) -> None:
    edge = Edge(MemoryGuard(MemoryLimits(0, base_mib * MIB)), base_mib * MIB, clients, delay, sticky=True)
    edge.run(12 * int(SETTLE_S))
    assert not sum(edge.closed[6 * int(SETTLE_S) :])


def test_what_clients_share_counts_for_less_once_that_shows() -> None:
    """Each client is worth a tenth of what waits for it: more of them go, until it suffices."""
    guard = MemoryGuard(MemoryLimits(0, 1000))
    used, now, closed = 1100, 0.0, 0
    while (excess := guard.judge(used, now).excess) and closed < 100:
        many = -(-excess // max(1, int(100 * guard.own_share)))
        guard.let_go(int(many * 100 * guard.own_share), used, now)
        closed, used, now = closed + many, used - 10 * many, now + SETTLE_S
    assert used <= 1000 and closed < 20


@pytest.mark.parametrize("again", [1, 3])
def test_memory_that_has_fallen_and_grows_again_at_once_is_seen_at_once(again: int) -> None:
    guard, now = MemoryGuard(MemoryLimits(0, 1000)), 0.0
    for _ in range(again):
        assert guard.judge(1200, now).excess == 200
        guard.let_go(200, 1200, now)
        assert guard.judge(1200, now + 1).excess == 0, "what was let go is not free yet"
        assert guard.judge(1000, now + 2).excess == 0
        assert guard.judge(1100, now + 3).excess == 100
        now += 4
    assert not guard.stuck


def test_memory_that_keeps_growing_while_clients_go_is_not_stuck() -> None:
    """What is freed comes back within each second, so that as much is in use all the time."""
    guard = MemoryGuard(MemoryLimits(0, 1000))
    for second in range(0, 10 * int(SETTLE_S), 2):
        excess = guard.judge(1200, float(second)).excess
        assert excess == 200
        guard.let_go(excess, 1200, float(second))
        guard.judge(1000, second + 1.0)
    assert (guard.own_share, guard.stuck) == (1.0, False)


def test_memory_that_sways_while_it_has_not_fallen_yet_costs_few_clients_more() -> None:
    guard, let_go = MemoryGuard(MemoryLimits(0, 1000)), 0
    for second in range(int(SETTLE_S)):
        used = 1200 if second % 2 == 0 else 1190
        if excess := guard.judge(used, float(second)).excess:
            guard.let_go(excess, used, float(second))
            let_go += excess
    assert let_go <= 200 + 10


def test_an_edge_whose_memory_grows_again_closes_clients_again() -> None:
    clients = [Weighed(number, False, 10_000) for number in range(3000)]
    edge = Edge(MemoryGuard(MemoryLimits(0, 50 * MIB)), 30 * MIB, clients)
    edge.run(60)
    before = sum(edge.closed)
    edge.base += 5 * MIB
    edge.run(60)
    assert before < sum(edge.closed) < 3000 and edge.used <= 50 * MIB
    edge.clients.clear()
    edge.run(1)
    assert (edge.guard.stuck, edge.guard.above_hard) == (False, False)
