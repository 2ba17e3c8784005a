"""Work of many callers, spread over turns of the event loop."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise

from services.edge.turn_queue import SECONDS, TurnQueue


async def test_only_so_many_have_their_turn_in_one_turn_of_the_loop_and_in_order() -> None:
    turns, done = TurnQueue(3), []

    async def work(number: int) -> None:
        await turns.turn()
        done.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(20)]
    counts = [0]
    while len(done) < 20:
        await asyncio.sleep(0)
        counts.append(len(done))
    assert max(after - before for before, after in pairwise(counts)) <= 3
    assert done == list(range(20)) and all(task.done() for task in tasks)


async def test_places_that_take_long_are_fewer_and_each_turn_has_one() -> None:
    clock, turns_of_the_loop = [0.0], [0]
    turns, done = TurnQueue(64, lambda: clock[0]), []

    def long_one(number: int) -> None:
        clock[0] += SECONDS
        done.append((turns_of_the_loop[0], number))

    assert turns.take() and turns.has_time()
    clock[0] += SECONDS
    assert not turns.has_time() and not turns.take()
    for number in range(5):
        turns.wait(partial(long_one, number))
    while len(done) < 5:
        turns_of_the_loop[0] += 1
        await asyncio.sleep(0)
    assert [number for _, number in done] == list(range(5))
    assert len({turn for turn, _ in done}) == 5


async def test_who_comes_alone_does_not_wait() -> None:
    turns = TurnQueue(1)
    for _ in range(3):
        turn = turns.turn()
        try:
            turn.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("it waits")
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_place_of_one_who_gave_up_goes_to_the_next() -> None:
    turns, done = TurnQueue(1), []

    async def work(number: int) -> None:
        await turns.turn()
        done.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert done == [0, 1, 3]


async def test_who_waits_in_a_turn_in_which_nobody_had_a_place_has_its_turn() -> None:
    turns, done = TurnQueue(1), list[int]()
    turns.wait(partial(done.append, 1))
    assert done == []
    await asyncio.sleep(0)
    assert done == [1]
