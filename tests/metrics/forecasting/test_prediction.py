from __future__ import annotations

import pytest

from services.metrics.forecasting.prediction import LEVELS, Prediction

HOUR = [10.0 * level for level in LEVELS]  # evenly spread from 0 to 10


def test_a_quantile_between_the_known_levels_and_outside_of_them():
    made = Prediction(start=0, quantiles=[HOUR])
    assert [made.at(0, level) for level in (0.5, 0.55, 0.92, 0.001, 0.999)] == pytest.approx([5, 5.5, 9.2, 0.25, 9.75])


def test_the_chance_to_be_above_is_the_inverse():
    made = Prediction(start=0, quantiles=[HOUR])
    assert [made.chance_above(0, value) for value in (5, 9.2, 0.1, 10)] == pytest.approx([0.5, 0.08, 1, 0])


def test_a_demand_that_is_certain():
    made = Prediction(start=0, quantiles=[[3.0] * len(LEVELS)])
    assert (made.at(0, 0.5), made.chance_above(0, 2.9), made.chance_above(0, 3.0)) == (3, 1, 0)
