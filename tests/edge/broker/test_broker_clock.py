"""The broker's clock is known to within its error, whatever the wall clocks say."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.edge.broker.broker_clock import DRIFT, KEPT_SAMPLES, BrokerClock


@dataclass
class World:
    """The broker is `ahead` of the steady clock, and may drift."""

    steady: float = 100.0
    ahead: float = 1_700_000_000.0
    wall_ahead: float = 1_700_000_123.0

    def clock(self) -> BrokerClock:
        return BrokerClock(lambda: self.steady, lambda: self.steady + self.wall_ahead)

    def ask(self, clock: BrokerClock, there_s: float, back_s: float) -> None:
        asked = self.steady
        theirs = asked + there_s + self.ahead
        self.steady += there_s + back_s
        clock.answered(asked, self.steady, theirs)

    @property
    def true_time(self) -> float:
        return self.steady + self.ahead


delays = st.floats(0.0001, 2.0)


@given(st.lists(st.tuples(delays, delays, st.floats(-DRIFT, DRIFT), st.floats(0, 60)), min_size=1, max_size=30))
def test_the_error_is_never_larger_than_it_says(asks):
    world = World()
    clock = world.clock()
    for there_s, back_s, drift, pause_s in asks:
        world.ask(clock, there_s, back_s)
        world.steady += pause_s
        world.ahead += drift * pause_s
        assert clock.error_s is not None
        assert abs(clock.now() - world.true_time) <= clock.error_s + 1e-6


def test_the_best_answer_counts():
    world = World()
    clock = world.clock()
    world.ask(clock, 0.001, 0.001)
    for _ in range(KEPT_SAMPLES - 1):
        world.ask(clock, 0.0, 0.5)  # answers that took long to come
    assert abs(clock.now() - world.true_time) < 0.01
    world.ask(clock, 0.0, 0.5)  # the good one is forgotten
    assert clock.error_s is not None and clock.error_s > 0.2


def test_before_the_first_answer_it_is_the_wall_clock():
    world = World()
    clock = world.clock()
    assert clock.now() == world.steady + world.wall_ahead
    assert clock.error_s is None and clock.offset_s is None


def test_a_wall_clock_that_is_set_does_no_harm():
    world = World()
    clock = world.clock()
    world.ask(clock, 0.001, 0.001)
    world.wall_ahead += 3600
    assert abs(clock.now() - world.true_time) < 0.01
    assert clock.offset_s is not None and abs(clock.offset_s + 3723) < 0.01


def test_the_clock_of_another_server_is_followed_at_once():
    world = World()
    clock = world.clock()
    world.ask(clock, 0.001, 0.001)
    world.ahead += 30
    world.ask(clock, 0.01, 0.01)
    assert abs(clock.now() - world.true_time) < 0.02
