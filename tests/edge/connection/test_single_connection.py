"""A user's newest connection closes the user's others, on all edges (`client.single_connection`)."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.connection.control_handler import SURELY_OLDER_S
from services.edge.connection.single_connection import TRIES, Newest, SingleConnection
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually


async def edges(single: bool = True) -> tuple[TestEdge, TestEdge]:
    cluster = EdgeCluster()
    options: dict[str, Any] = {"token_hmac_secret_key": SECRET, "single_connection": single, "insecure": False}
    one, two = [await TestEdge(cluster, **options).start() for _ in range(2)]
    return one, two


async def opened(edge: TestEdge, user: str = "alice") -> Talk:
    """A connection that is opened later than those before it."""
    edge.clock.time += 1
    return await connected(edge, sub=user)


async def test_the_newest_one_stays() -> None:
    one, two = await edges()
    two.clock.time += 100
    there, elsewhere = await opened(one), await opened(one, "bob")
    here = await opened(two)
    await eventually(lambda: there.closed == 3504)
    third = await opened(two)
    await eventually(lambda: here.closed == 3504)
    assert (third.closed, elsewhere.closed) == (0, 0)


async def test_one_that_is_newer_stays_when_an_older_one_is_heard_of_late() -> None:
    """By the clocks of their edges."""
    one, two = await edges()
    one.clock.time += 100
    newer = await opened(one)
    older = await opened(two)
    await settled()
    assert newer.closed == 0
    newest = await opened(one)
    await eventually(lambda: newer.closed == older.closed == 3504)
    assert newest.closed == 0


async def test_a_clock_that_is_off_leaves_no_connection_open_that_is_older_for_certain() -> None:
    one, two = await edges()
    one.clock.time += 100  # ahead of the other edge
    older = await opened(one)
    await settled()  # what others are told of it has come
    one.clock.time += SURELY_OLDER_S + 1
    newest = await opened(two)
    await eventually(lambda: older.closed == 3504)
    assert newest.closed == 0


async def test_of_two_that_come_at_the_same_moment_one_stays() -> None:
    for _ in range(5):
        one, two = await edges()
        talks = [await connected(edge, sub="alice") for edge in (one, two)]
        await settled()
        assert sorted(talk.closed for talk in talks) == [0, 3504]


async def test_anonymous_clients_and_other_edges_without_it_are_as_before() -> None:
    one, _ = await edges()
    anonymous = [await opened(one, "") for _ in range(2)]
    off, _ = await edges(single=False)
    several = [await opened(off) for _ in range(2)]
    await settled()
    assert [talk.closed for talk in (*anonymous, *several)] == [0, 0, 0, 0]


async def test_an_edge_that_cannot_be_asked_is_asked_again() -> None:
    one, two = await edges()
    older = await opened(one)
    two.peers.away = True

    async def heal(_: float) -> None:
        two.peers.away = False

    newest = Newest("alice", "c", older.connection.session.state.admitted_at + 1)
    SingleConnection(two.peers, two.context.refusals, heal).close_others(newest)
    await eventually(lambda: older.closed == 3504)


async def test_what_no_edge_could_be_told_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one, two = await edges()
    older = await opened(one)
    two.peers.away = True
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    SingleConnection(two.peers, two.context.refusals, wait).close_others(Newest("alice", "c", 2**53))
    await eventually(lambda: "other connections of a user may be left open" in caplog.text)
    assert older.closed == 0 and len(waits) == TRIES - 1
