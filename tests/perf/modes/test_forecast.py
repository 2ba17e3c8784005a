"""The back-test: its scores, its simulated weeks, and one small real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.load.weeks import SCENARIOS, simulate
from perf.modes.forecast import naive_quantiles, scored
from perf.report.backtest import score
from services.metrics.forecasting.cleaning import filled
from services.metrics.forecasting.prediction import LEVELS
from tests.perf.command import perf

SPREAD = [100 * level for level in LEVELS]


def test_scores_of_a_forecast_whose_quality_is_known():
    true = [50.0] * 100 + [97.0] * 30 + [150.0] * 20
    found = score([SPREAD] * 150, true, [(0.5, True), (0.5, False)])
    assert found.error_day == 0
    assert found.covered_80 == pytest.approx(100 / 150)
    assert found.covered_95 == pytest.approx(130 / 150)
    assert found.brier == 0.25
    mean = sum(true) / 150
    assert found.width_80 == pytest.approx(80 / mean)
    assert score([[50.0] * len(LEVELS)] * 150, [50.0] * 150, [(0.0, False)]).loss == 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_weeks_are_the_same_in_every_run_and_have_what_they_say(name: str):
    weeks = simulate(name, 1)
    assert weeks == simulate(name, 1)
    assert len(weeks.true) == 168
    assert sum(value is None for value in weeks.seen) == (12 if name == "outage" else 0)
    found = scored(weeks, naive_quantiles(weeks))
    growth = sum(weeks.true) / sum(filled(weeks.seen)[:168])
    assert growth > 1.2 if name in ("trend", "step") else 0.8 < growth < 1.2
    assert found.error_day < 0.6


async def test_a_small_run(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "forecast", "--forecasts", "1", "--scenario", "trend")
    assert outcome.code == 0, outcome.output
    assert outcome.report["forecast"]["trend"]["error_day"] < 0.15
    assert outcome.report["naive"]["trend"]["loss"] > outcome.report["forecast"]["trend"]["loss"]
