from __future__ import annotations

import pytest

from services.metrics.forecasting.outlook import STALE_S, chances_until, outlook
from services.metrics.forecasting.prediction import Answer
from tests.metrics.forecasting.predictions import answer

T0 = 1_789_999_200
RISING = [1.0 + 0.1 * hour for hour in range(48)]


def test_it_says_when_capacity_runs_out_and_how_likely():
    seen = outlook(answer(T0, RISING), T0 + 60, edges=3, certainty=0.9)
    assert seen is not None
    # Half of the demand is above its median: 3 edges are the median of hour 20. The 90 % quantile is 1.4 x the median.
    assert seen.out_at["50%"] == T0 + 20 * 3600
    assert seen.out_at["10%"] == T0 + 12 * 3600
    assert seen.chance_out["1h"] == 0
    assert seen.chance_out["24h"] == pytest.approx(1 - (3 / 3.3 - 0.5), abs=0.01)
    assert seen.chance_out["168h"] > 0.95
    assert seen.hours[20].chance_out == pytest.approx(0.5)
    assert seen.hours[0].edges.expected == pytest.approx(1.0)


def test_chances_of_days_add_up_and_those_of_hours_do_not():
    found = list(chances_until([0.1, 0.2, 0.1, *[0.2] * 21, 0.5, 0.1]))
    assert found[:3] == [0.1, 0.2, 0.2]
    assert found[23:] == [0.2, 0.6, 0.6]


def test_more_edges_run_out_later():
    seen = outlook(answer(T0, RISING), T0, edges=6, certainty=0.9)
    assert seen is not None
    assert seen.out_at == {"10%": T0 + 33 * 3600, "50%": None}


def test_it_begins_with_the_hour_of_now():
    seen = outlook(answer(T0, RISING), T0 + 5 * 3600 + 100, edges=3, certainty=0.9)
    assert seen is not None
    assert (seen.hours[0].at, len(seen.hours)) == (T0 + 5 * 3600, 43)
    assert seen.hours[0].connections is not None
    assert seen.hours[0].connections.expected == pytest.approx(1500)


def test_needed_until_is_the_highest_with_certainty():
    seen = outlook(answer(T0, [1.0, 3.0, 2.0]), T0, edges=3, certainty=0.9)
    assert seen is not None
    assert [seen.needed(T0 + after) for after in (60, 3601, 10_000)] == pytest.approx([1.4, 4.2, 4.2])


@pytest.mark.parametrize("now", [T0 - 60, T0 + STALE_S])
def test_a_stale_forecast_is_none(now: float):
    assert outlook(answer(T0, RISING), now, 3, 0.9) is None
    assert outlook(Answer(predictions={}), T0, 3, 0.9) is None
