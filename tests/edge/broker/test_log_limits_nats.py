"""From which sequence on a ring stands for its log."""

from __future__ import annotations

import sys
from dataclasses import replace

from services.chassis.nats.streams import StreamState
from services.edge.broker.log_limits_nats import LogLimits

STATE = StreamState("epoch", 1, 10, {}, limit=5, max_age_s=60.0)


def test_a_stream_that_nobody_touched_is_as_the_ring_has_it() -> None:
    limits = LogLimits()
    assert limits.of("CH").since == sys.maxsize, "nothing is known of it"
    for last in (10, 20):
        limits.note("CH", replace(STATE, last=last), limits.of("CH").doubts)
        assert limits.of("CH") == (5, 60.0, 0, 0, 1)


def test_what_was_there_when_somebody_removed_something_is_asked_of_the_log() -> None:
    limits = LogLimits()
    limits.note("CH", STATE, 0)
    asked_before = limits.of("CH").doubts
    limits.doubt("CH")
    limits.note("CH", replace(STATE, last=11), asked_before)
    assert limits.of("CH").since == sys.maxsize, "an answer that was on its way says nothing"
    limits.note("CH", replace(STATE, last=12), limits.of("CH").doubts)
    limits.note("CH", replace(STATE, last=13), limits.of("CH").doubts)
    assert limits.of("CH") == (5, 60.0, 12, 1, 1)


def test_other_limits_hold_for_what_comes_after_they_were_seen() -> None:
    limits = LogLimits()
    limits.note("CH", STATE, 0)
    limits.note("CH", replace(STATE, last=12, limit=20), 0)
    assert limits.of("CH") == (20, 60.0, 12, 1, 1)
    limits.note("CH", replace(STATE, last=14, limit=-1, max_age_s=0.0), 1)
    assert limits.of("CH") == (0, float("inf"), 14, 2, 1)


def test_what_the_stream_has_lost_by_its_bytes_is_known_as_of_its_last_state() -> None:
    limits = LogLimits()
    limits.note("CH", STATE, 0)
    limits.note("CH", replace(STATE, first=8, last=20), 0)
    assert (limits.of("CH").first, limits.of("CH").since, limits.of("CH").doubts) == (8, 0, 0)
