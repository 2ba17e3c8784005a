from __future__ import annotations

import pytest

from services.metrics.capacity.laws import fit_laws
from services.metrics.capacity.levels import Levels
from services.metrics.forecasting.demand import CONNECTIONS, EDGES, series_of
from services.metrics.history import Hour
from tests.metrics.capacity.edges import minute

LAWS = fit_laws(Levels())
T0 = 1_789_999_200


def hour(number: int, connections: float, minutes: int = 60) -> Hour:
    at = T0 + 3600 * number
    return Hour(at, minutes, minute(connections / 2, at=at, edge=""), minute(connections, at=at, edge=""))


def test_hours_become_a_regular_series_of_what_was_needed_when_busy():
    made = series_of([hour(0, 100), hour(1, 200), hour(3, 400)], LAWS, {"descriptors": 230})
    assert (made[CONNECTIONS].start, made[CONNECTIONS].values) == (T0, [100, 200, 200, 400])
    assert made[EDGES].values == pytest.approx([0.5, 1, 1, 2])


def test_an_hour_of_which_little_is_known_is_a_gap():
    made = series_of([hour(0, 100), hour(1, 5, minutes=3), hour(2, 300)], LAWS, {})
    assert made[CONNECTIONS].values == [100, 100, 300]


def test_without_hours_there_is_no_series():
    assert series_of([], LAWS, {}) == {}
    assert series_of([hour(0, 5, minutes=1)], LAWS, {}) == {}
