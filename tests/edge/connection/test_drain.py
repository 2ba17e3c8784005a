"""The pace of a drain (a drain with real clients is an integration test)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.process.settings import Duration
from services.edge.connection import drain
from services.edge.connection.drain import Drain, closes_due
from services.edge.edge_settings import EdgeSection
from tests.edge.talks import Talk
from tests.support.cluster import EdgeCluster, TestEdge

FEW = settings(max_examples=300, deadline=None)
counts = st.integers(0, 20_000)
rates = st.integers(1, 10_000)
times = st.floats(0.01, 9.5, allow_nan=False)
moments = st.floats(0, 20, allow_nan=False)


@FEW
@given(counts, rates, times, st.lists(moments, min_size=2, max_size=8))
def test_it_only_grows_and_stays_within_the_count(
    count: int, rate: float, seconds: float, elapsed: list[float]
) -> None:
    due = [closes_due(count, rate, seconds, moment) for moment in sorted(elapsed)]
    assert due == sorted(due)
    assert due[0] >= 0
    assert due[-1] <= count


@FEW
@given(counts, rates, times, moments)
def test_all_are_due_in_time(count: int, rate: float, seconds: float, late: float) -> None:
    assert closes_due(count, rate, seconds, seconds + late) == count


@FEW
@given(counts, rates, times, moments)
def test_it_keeps_the_rate_where_the_time_suffices(count: int, rate: float, seconds: float, elapsed: float) -> None:
    if count <= rate * seconds and elapsed < seconds:
        assert closes_due(count, rate, seconds, elapsed) <= rate * elapsed


@FEW
@given(counts, rates, times, moments)
def test_it_is_not_slower_than_the_rate(count: int, rate: float, seconds: float, elapsed: float) -> None:
    assert closes_due(count, rate, seconds, elapsed) >= min(count, int(rate * elapsed))


@FEW
@given(counts, rates, times, st.floats(0, 1, exclude_max=True))
def test_a_hurry_is_even(count: int, rate: float, seconds: float, part: float) -> None:
    """When the time does not suffice, each moment gets its share: no burst at the end."""
    if count > rate * seconds:
        assert abs(closes_due(count, rate, seconds, seconds * part) - count * part) <= 1


def test_nobody_is_closed_before_time_passes() -> None:
    assert closes_due(5000, 1000, 6.0, 0.0) == 0


def test_no_time_is_all_at_once() -> None:
    assert closes_due(5000, 1000, 0.0, 0.0) == 5000
    assert closes_due(5000, 1000, -1.0, 0.0) == 5000


def test_no_rate_is_all_at_once() -> None:
    assert closes_due(5000, 0, 6.0, 0.0) == 5000


def test_examples() -> None:
    assert closes_due(2000, 1000, 6.0, 0.5) == 500
    assert closes_due(2000, 1000, 6.0, 2.0) == 2000
    assert closes_due(12_000, 1000, 6.0, 3.0) == 6000


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


async def drained(edge: TestEdge, timeout_s: float) -> tuple[list[Talk], set[int]]:
    """300 clients after a drain without a pace, and how many of them were open whenever others had their turn."""
    clients = [Talk(edge) for _ in range(3 * drain._SLICE)]
    section = EdgeSection(drain_delay=Duration(0), drain_rate=0, drain_timeout=Duration(timeout_s))
    draining = asyncio.create_task(Drain(edge.context, section).run())
    open_at_turns = {len(clients)}
    while min(open_at_turns):
        await asyncio.sleep(0)
        open_at_turns.add(sum(not client.connection.closed for client in clients))
    for client in clients:  # they answer
        client.connection.lost()
    await draining
    return clients, open_at_turns


async def test_without_a_pace_the_loop_still_has_its_turns(edge: TestEdge) -> None:
    clients, open_at_turns = await drained(edge, timeout_s=9)
    assert open_at_turns == {300, 200, 100, 0}
    assert {client.transport.close_frame for client in clients} == {(1001, "shutdown")}


async def test_a_drain_that_is_out_of_time_leaves_no_turns(edge: TestEdge) -> None:
    """A turn of the loop may take seconds, as in a channel where thousands are told of each leave."""
    _, open_at_turns = await drained(edge, timeout_s=0.1)  # all of it is kept for the end
    assert open_at_turns == {300, 0}
