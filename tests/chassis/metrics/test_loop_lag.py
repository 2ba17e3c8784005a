"""The lateness of the event loop: a block of the loop is seen, whenever it happened."""

from __future__ import annotations

import asyncio
import time

from services.chassis.metrics.loop_lag import INTERVAL_S, SLOT_S, LoopLag
from tests.support.eventually import eventually


async def test_a_loop_that_is_held_up_shows_it():
    lag = LoopLag()
    lag.start()
    try:
        await eventually(lambda: lag.histogram.count > 0)
        lag.peak()
        time.sleep(INTERVAL_S * 4)  # noqa: ASYNC251  # holds the loop up, on purpose
        assert min(lag.peak(), lag.recent()) >= INTERVAL_S * 2, "while it is late, and before the timer fires"
        held = sum(lag.histogram.counts[7:])  # above 50 ms
        await eventually(lambda: sum(lag.histogram.counts[7:]) > held)
    finally:
        lag.stop()


def test_the_largest_lag_outlives_every_scrape_and_is_forgotten_within_a_minute():
    lag = LoopLag()
    lag.observe(0.1, 1000.0)
    lag.observe(3.0, 1000 + SLOT_S - 1)
    seen = []
    for seconds in range(int(2 * SLOT_S) + 2):
        lag.observe(0.2, 1000 + SLOT_S - 1 + seconds)
        seen += [lag.recent(), lag.recent()]  # one of them was given up
    assert seen[: int(2 * SLOT_S)] == [3.0] * int(2 * SLOT_S), "for 30 s at least"
    assert seen[-1] == 0.2


def test_a_lag_before_a_long_freeze_is_not_a_recent_one():
    lag = LoopLag()
    lag.observe(5.0, 1000.0)
    lag.observe(0.2, 1000 + 3 * SLOT_S)
    assert lag.recent() == 0.2


def test_a_heartbeat_has_the_largest_since_the_last_one():
    lag = LoopLag()
    lag.observe(0.5, 1.0)
    lag.observe(0.2, 1.1)
    assert (lag.peak(), lag.peak(), lag.recent()) == (0.5, 0.0, 0.5)
    lag.observe(0.1, 1.2)
    assert lag.peak() == 0.1


async def test_a_stopped_one_measures_nothing():
    lag = LoopLag()
    lag.start()
    lag.stop()
    await asyncio.sleep(0)
    lag.peak()
    assert lag.peak() == lag.recent() == 0.0
