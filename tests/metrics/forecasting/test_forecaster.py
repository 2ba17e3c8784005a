"""The worker as a process."""

from __future__ import annotations

from typing import cast

import pytest

from services.metrics.forecasting import forecaster
from services.metrics.forecasting.forecaster import ForecastFailed, forecast, missing_extra
from services.metrics.forecasting.prediction import Series, Task
from services.metrics.forecasting.worker import answer

DAYS = [10.0 + hour % 24 for hour in range(96)]
TASK = Task(series={"edges": Series(start=7200, values=DAYS), "new": Series(start=7200, values=[1.0])}, horizon=5)


async def test_the_worker_answers_as_the_library_does_here():
    made = await forecast(TASK)
    assert made == answer(TASK)
    assert (made.predictions["edges"].start, len(made.predictions["edges"].quantiles)) == (7200 + 96 * 3600, 5)
    assert "needs 72 hours" in made.problems["new"]


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forecaster, "_LIBRARY", "no_such_library")
    assert missing_extra() is not None
    with pytest.raises(ForecastFailed, match=r"pip install 'fairlead\[forecast\]'"):
        await forecast(TASK)


async def test_a_worker_that_takes_too_long_is_ended():
    with pytest.raises(ForecastFailed, match="took longer than 0 s"):
        await forecast(TASK, deadline_s=0.01)


async def test_a_worker_that_fails_is_reported_with_its_reason():
    unreadable = Task(series={}, horizon=cast("int", "five"))  # it fails before it loads the library
    with pytest.raises(ForecastFailed, match=r"exit code 1: .*Expected `int`"):
        await forecast(unreadable)


async def test_a_process_that_cannot_be_started_is_no_forecast(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ForecastFailed, match="cannot be started"):
        await forecast(TASK)
