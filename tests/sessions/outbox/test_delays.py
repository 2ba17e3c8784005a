"""Which channels wait after failures, and for how long."""

from __future__ import annotations

from services.sessions.outbox.delays import MAX_DELAYED, Delays


def test_a_channel_waits_twice_as_long_after_each_failure_up_to_5_s_and_not_at_all_after_a_success():
    delays = Delays()
    assert [delays.put_off("a", 0.0) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert delays.put_off("b", 0.0) == 0.2
    assert delays.waiting(0.1) == ["a", "b"]
    assert delays.waiting(0.3) == ["a"]
    assert delays.waiting(5.0) == []
    delays.succeeded("a")
    assert delays.put_off("a", 6.0) == 0.2


def test_when_too_many_wait_all_do_until_the_first_may_try():
    delays = Delays()
    for number in range(MAX_DELAYED):
        delays.put_off(str(number), 1.0)
    assert delays.waiting(1.1) is None
    assert delays.waiting(1.2) == []


def test_channels_that_others_have_published_since_are_forgotten():
    delays = Delays()
    for number in range(3 * MAX_DELAYED):
        delays.put_off(str(number), float(number))
        assert delays.waiting(float(number)) == [str(number)]
    assert len(delays._of) <= 2 * MAX_DELAYED
