from __future__ import annotations

import asyncio

import pytest

from services.edge.broker.broker import BrokerAway
from services.edge.broker.in_flight import InFlight


def later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def waiting(gate: InFlight, count: int, deadline_s: float = 5) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(gate.enter(later(deadline_s))) for _ in range(count)]
    while gate.waiting < count:
        await asyncio.sleep(0)
    return tasks


async def test_no_more_than_the_limit_at_once_and_the_others_in_their_order():
    gate = InFlight(2, 10)
    await gate.enter(later(5))
    await gate.enter(later(5))
    tasks = await waiting(gate, 3)
    assert gate.count == 2
    for done in range(1, 4):
        gate.leave()
        await tasks[done - 1]
        assert [task.done() for task in tasks] == [i < done for i in range(3)] and gate.count == 2
    gate.leave()
    gate.leave()
    assert gate.count == 0 and gate.refused == 0


async def test_a_publish_beyond_the_waiting_limit_is_refused_at_once_and_counted():
    gate = InFlight(1, 1)
    await gate.enter(later(5))
    (task,) = await waiting(gate, 1)
    with pytest.raises(BrokerAway, match="too many"):
        await gate.enter(later(5))
    assert gate.refused == 1
    gate.leave()
    await task
    gate.leave()
    assert gate.count == 0


async def test_a_publish_whose_turn_does_not_come_in_time_is_refused_and_takes_no_place():
    gate = InFlight(1, 5)
    await gate.enter(later(5))
    with pytest.raises(BrokerAway, match="in time"):
        await gate.enter(later(0.01))
    assert (gate.refused, gate.waiting, gate.count) == (1, 0, 1)
    gate.leave()
    await gate.enter(later(5))
    assert gate.count == 1


@pytest.mark.parametrize("at_the_same_moment", [False, True])
async def test_a_cancelled_waiter_takes_no_place(at_the_same_moment):
    gate = InFlight(1, 5)
    await gate.enter(later(5))
    first, second = await waiting(gate, 2)
    if at_the_same_moment:
        gate.leave()  # it is the first one's turn, but he does not know yet
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    if not at_the_same_moment:
        gate.leave()
    await second
    assert (gate.count, gate.waiting) == (1, 0)
