"""Makes a forecast from the history at regular intervals, and gives it to the planner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from services.chassis.postgres.errors import StoreAway
from services.metrics.forecasting.forecaster import ForecastFailed
from services.metrics.forecasting.prediction import HOUR_S, Answer, Task
from services.metrics.history import History
from services.metrics.planner import Planner

log = logging.getLogger(__name__)

MAX_HOURS: Final = 10 * 168
"""Hours of the past from which a forecast is made: ten weeks."""

_RETRY_S: Final = 300.0  # after a failure; at most the interval

Make = Callable[[Task], Awaitable[Answer]]


class ForecastLoop:
    """Calls `make` every `interval_s` seconds to predict `horizon` hours. `now` returns Unix time in seconds.
    `on_failure` is called for each forecast that could not be made."""

    def __init__(
        self, planner: Planner, make: Make, interval_s: float, horizon: int, now: Callable[[], float],
        on_failure: Callable[[], None],
    ) -> None:  # fmt: skip
        self._planner = planner
        self._make = make
        self._interval_s = interval_s
        self._horizon = horizon
        self._now = now
        self._on_failure = on_failure

    async def run(self, history: History) -> None:
        """Makes forecasts until cancelled."""
        while True:
            made = await self.once(history)
            await asyncio.sleep(self._interval_s if made else min(_RETRY_S, self._interval_s))

    async def once(self, history: History) -> bool:
        """Makes one forecast. Returns whether there is one now; if not, the planner is given the reason."""
        now = self._now()
        try:
            hours = await history.hours(now - MAX_HOURS * HOUR_S, whole=True, limit=MAX_HOURS)
            task = self._planner.task(hours, self._horizon)
            if not task.series:
                self._planner.forecasted(None, "there is no full hour of history yet")
                return False
            answer = await self._make(task)
        except (StoreAway, ForecastFailed) as error:
            if self._planner.problem != str(error):
                log.warning("no forecast now: %s", error)
            self._planner.forecasted(None, str(error))
            self._on_failure()
            return False
        self._planner.forecasted(answer, None)
        return bool(answer.predictions)
