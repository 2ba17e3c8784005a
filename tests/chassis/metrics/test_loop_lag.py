"""The lateness of the event loop: whoever holds it up is seen, whenever that was."""

from __future__ import annotations

import asyncio
import time

from services.chassis.metrics.loop_lag import INTERVAL_S, LoopLag
from tests.support.eventually import eventually


async def test_a_loop_that_is_held_up_shows_it():
    lag = LoopLag()
    lag.start()
    try:
        await eventually(lambda: lag.histogram.count > 0)
        lag.peak("scrape")
        time.sleep(INTERVAL_S * 4)  # noqa: ASYNC251  # holds the loop up, on purpose
        assert lag.peak("scrape") >= INTERVAL_S * 2, "while it is late, and before the timer fires"
        held = sum(lag.histogram.counts[7:])  # above 50 ms
        await eventually(lambda: sum(lag.histogram.counts[7:]) > held)
    finally:
        lag.stop()


async def test_each_reader_has_its_own_peak():
    lag = LoopLag()
    assert (lag.peak("scrape"), lag.peak("heartbeat")) == (0.0, 0.0)
    lag.observe(0.5)
    lag.observe(0.2)
    assert (lag.peak("scrape"), lag.peak("heartbeat")) == (0.5, 0.5)
    lag.observe(0.1)
    assert (lag.peak("scrape"), lag.peak("scrape"), lag.peak("heartbeat")) == (0.1, 0.0, 0.1)


async def test_a_stopped_one_measures_nothing():
    lag = LoopLag()
    lag.start()
    lag.stop()
    await asyncio.sleep(0)
    lag.peak("scrape")
    assert lag.peak("scrape") == 0.0
