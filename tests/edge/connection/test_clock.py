"""The clocks of an edge."""

from __future__ import annotations

import time

import pytest

from services.edge.connection.clock import Clock


def test_durations_are_steady_and_the_wall_clock_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, steady = 1_767_225_600.0, 50.0
    monkeypatch.setattr(time, "time", lambda: wall)
    monkeypatch.setattr(time, "monotonic", lambda: steady)
    clock = Clock()
    assert (clock.now(), clock.unix(), clock.ahead()) == (steady, wall, wall - steady)
    monkeypatch.setattr(time, "time", lambda: wall - 3600)  # an operator sets it
    monkeypatch.setattr(time, "monotonic", lambda: steady + 2)
    assert (clock.now(), clock.unix(), clock.ahead()) == (steady + 2, wall - 3600, wall - 3600 - steady - 2)
