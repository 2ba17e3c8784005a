"""Turns: one after the other, each once in a turn of the loop, and the loop runs in between."""

from __future__ import annotations

import asyncio

from services.chassis.process.turns import TURN_S, Turns


class Worker:
    """Notes each of its turns; `left` are those that it still needs."""

    def __init__(self, turns: Turns, name: str, left: int, did: list[str], fails: bool = False) -> None:
        self._turns, self._name, self._did, self._fails = turns, name, did, fails
        self.left = left

    def take_turn(self) -> None:
        self._did.append(self._name)
        self.left -= 1
        if self._fails:
            raise RuntimeError("on purpose")
        if self.left:
            self._turns.wait(self)


class SlowClock:
    """Each look at it takes some time."""

    def __init__(self, step_s: float) -> None:
        self._now = 0.0
        self._step_s = step_s

    def now(self) -> float:
        self._now += self._step_s
        return self._now


async def test_each_gets_its_turn_and_the_loop_goes_on_in_between():
    did: list[str] = []
    turns = Turns(lambda: 0.0)
    for name, left in (("a", 3), ("b", 1), ("c", 2)):
        turns.wait(Worker(turns, name, left, did))
    assert did == [], "not in the turn in which they begin to wait"
    for expected in ("abc", "ac", "a", ""):
        await asyncio.sleep(0)
        assert "".join(did) == expected
        did.clear()
    assert not turns


async def test_whoever_waits_already_gets_one_turn():
    did: list[str] = []
    turns = Turns(lambda: 0.0)
    worker = Worker(turns, "a", 1, did)
    turns.wait(worker)
    turns.wait(worker)
    await asyncio.sleep(0)
    assert did == ["a"] and not turns


async def test_when_the_time_is_used_up_the_others_come_first_in_the_next_turn():
    did: list[str] = []
    turns = Turns(SlowClock(TURN_S * 0.6).now)  # two of them in each turn of the loop
    for name in "abcde":
        turns.wait(Worker(turns, name, 2, did))
    for expected in ("ab", "cd", "ea", "bc", "de", ""):
        await asyncio.sleep(0)
        assert "".join(did) == expected
        did.clear()


async def test_one_that_fails_takes_no_turn_from_the_others(caplog):
    did: list[str] = []
    turns = Turns(lambda: 0.0)
    turns.wait(Worker(turns, "a", 2, did, fails=True))
    turns.wait(Worker(turns, "b", 2, did))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "".join(did) == "abb" and "a turn failed" in caplog.text
