"""The wheel against a model: no item is asked early and none is forgotten, for any steps of the clock."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.edge.timing_wheel import TICK_S, TimingWheel

ITEMS = 6
seconds = st.floats(0, 40, allow_nan=False)


class Item:
    """Answers each question with the next of its `answers` (seconds from then), never when there is none left."""

    def __init__(self) -> None:
        self.wheel_tick = 0
        self.wanted = math.inf  # the model: when it wants to be asked
        self.answers: list[float] = []
        self.asked: list[float] = []

    def on_time(self, now: float) -> float:
        assert now >= self.wanted, "asked early, or after it was removed"
        self.asked.append(now)
        self.wanted = now + self.answers.pop(0) if self.answers else math.inf
        return self.wanted


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_767_225_600.3
        self.wheel = TimingWheel(self.now)
        self.items = [Item() for _ in range(ITEMS)]

    @rule(
        number=st.integers(0, ITEMS - 1),
        delay=st.floats(-5, 40, allow_nan=False),
        answers=st.lists(seconds, max_size=3),
    )
    def add(self, number: int, delay: float, answers: list[float]) -> None:
        item = self.items[number]
        item.wanted, item.answers = self.now + delay, answers
        self.wheel.add(item, item.wanted)

    @rule(number=st.integers(0, ITEMS - 1))
    def remove(self, number: int) -> None:
        self.items[number].wanted = math.inf
        self.wheel.remove(self.items[number])

    @rule(passed=st.floats(0, 2, allow_nan=False) | st.sampled_from([0.0, TICK_S, 15.9, 16.3, 3600.0, 1e6]))
    def turn(self, passed: float) -> None:
        self.now += passed
        self.wheel.turn(self.now)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        waiting = [item for item in self.items if item.wanted < math.inf]
        assert len(self.wheel) == len(waiting)

    @rule()
    def two_ticks_later_nothing_is_overdue(self) -> None:
        self.now += 2 * TICK_S
        self.wheel.turn(self.now)
        for item in self.items:
            assert item.wanted > self.now - TICK_S

    @rule()
    def in_the_end_everything_was_asked(self) -> None:
        for _ in range(5):
            self.now += 50
            self.wheel.turn(self.now)
        assert len(self.wheel) == 0
        assert all(item.wanted == math.inf for item in self.items)


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase


@settings(max_examples=50, deadline=None)
@given(st.lists(seconds, min_size=1, max_size=20))
def test_it_asks_in_the_order_of_time_within_a_tick(delays: list[float]) -> None:
    order: list[float] = []

    class Noted(Item):
        def on_time(self, now: float) -> float:
            order.append(self.wanted)
            return super().on_time(now)

    wheel = TimingWheel(0.0)
    for delay in delays:
        item = Noted()
        item.wanted = delay
        wheel.add(item, delay)
    wheel.turn(50.0)
    assert len(order) == len(delays)
    # The first tick has both the items due now and those due a tick from now; a slot has no order.
    assert all(later >= earlier - TICK_S for earlier, later in pairwise(order))


def test_an_item_may_remove_another_one_of_its_slot() -> None:
    """A connection that ends another one, or itself, while the wheel turns."""
    wheel = TimingWheel(0.0)
    items = [Item(), Item()]

    class Killer(Item):
        def on_time(self, now: float) -> float:
            for item in items:
                item.wanted = math.inf
                wheel.remove(item)
            return math.inf

    for victims_first in (True, False):
        killers = [Killer() for _ in range(20)]  # enough to come before the victims in some order
        for item in (*items, *killers) if victims_first else (*killers, *items):
            item.wanted = 1.0
            wheel.add(item, 1.0)
        wheel.turn(2.0 if victims_first else 4.0)
        assert len(wheel) == 0
        wheel = TimingWheel(2.0)


def test_an_item_may_put_off_another_one_of_its_slot() -> None:
    """The first item postpones the others: they are asked once, at their new time."""
    wheel = TimingWheel(0.0)
    items: list[Item] = []

    class Postponer(Item):
        def on_time(self, now: float) -> float:
            answer = super().on_time(now)
            for other in items:
                if other is not self and now < 5.0:
                    other.wanted = 5.0
                    wheel.add(other, 5.0)
            return answer

    items += [Postponer() for _ in range(5)]
    for item in items:
        item.wanted = 1.0
        wheel.add(item, 1.0)
    wheel.turn(1.0)
    assert sorted(len(item.asked) for item in items) == [0, 0, 0, 0, 1]
    assert len(wheel) == 4
    wheel.turn(5.0)
    assert [len(item.asked) for item in items] == [1] * 5
    assert len(wheel) == 0


def test_never_is_not_waited_for() -> None:
    wheel, item = TimingWheel(0.0), Item()
    wheel.add(item, 1.0)
    wheel.add(item, math.inf)
    assert len(wheel) == 0


def test_a_clock_that_goes_back_asks_nobody() -> None:
    wheel, item = TimingWheel(100.0), Item()
    item.wanted = 101.0
    wheel.add(item, 101.0)
    wheel.turn(50.0)
    assert item.asked == []
    wheel.turn(101.0)
    assert item.asked == [101.0]
