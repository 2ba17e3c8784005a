"""How good the forecast is: a back-test on simulated weeks, compared with repeating the week before.

Weeks of hourly demand are simulated (a daily and weekly pattern; growth, a holiday, a step, an outage), the forecast of
the metrics service predicts the week after them, and is compared with what came. The other forecast is seasonal-naive:
each hour as a week before, with intervals from how much weeks differed before. No servers; some seconds of CPU for each
forecast. Exit code 1 if the forecast's loss is not below the naive one's in every scenario but "weekly", where both may
be as good, or if an 80 % interval covers less than 65 %.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time

from perf import runner
from perf.errors import Refusal
from perf.load.weeks import SCENARIOS, WEEK, Weeks, simulate
from perf.report import backtest, tables
from perf.report.backtest import CAPACITIES, Score
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.settings import PerfSettings
from services.metrics.forecasting.cleaning import filled
from services.metrics.forecasting.outlook import chances_until
from services.metrics.forecasting.prediction import LEVELS, Prediction, Series, chance_above

LEAST_COVERED = 0.65
ABOUT_AS_GOOD = 1.1
_FORECAST_S = 60.0  # by the clock, on a busy machine


class ForecastFigures(Figures):
    """By scenario; `cpu_s` is the CPU of one forecast."""

    weeks: int
    forecasts: int
    forecast: dict[str, Score]
    naive: dict[str, Score]
    cpu_s: float

    def table(self) -> str:
        rows = [
            [name, method, *(f"{100 * getattr(one, field):.1f}" for field in _SHOWN), f"{one.brier:.3f}"]
            for name in self.forecast
            for method, one in (("forecast", self.forecast[name]), ("naive", self.naive[name]))
        ]
        head = ["weeks", "method", *_SHOWN.values(), "Brier"]
        return f"{tables.markdown(head, rows)}\n\n{self.cpu_s} s of CPU for each forecast"

    def good(self) -> bool:
        return all(
            self.forecast[name].covered_80 >= LEAST_COVERED
            and self.forecast[name].loss < self.naive[name].loss * (ABOUT_AS_GOOD if name == "weekly" else 1)
            for name in self.forecast
        )


_SHOWN = {
    "error_day": "error, day 1 (%)",
    "error_week": "days 2-7 (%)",
    "covered_80": "in 80 % (%)",
    "covered_95": "in 95 % (%)",
    "width_80": "width of 80 % (%)",
    "loss": "loss (%)",
    "chance": "chance said (%)",
    "exceeded": "happened (%)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--forecasts", type=int, default=12, help="forecasts of each scenario (%(default)s)")
    parser.add_argument("--weeks", type=int, default=6, help="weeks of history for each (%(default)s)")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="only this one")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 1 <= arguments.forecasts <= 1000 or not 3 <= arguments.weeks <= 52:
        raise Refusal("--forecasts is 1 to 1000, --weeks 3 to 52")
    expected_s = _FORECAST_S * arguments.forecasts * len(SCENARIOS)
    figures = await runner.measured(arguments, expected_s, measure, 0)
    return int(figures is None or not figures.good())


async def measure(arguments: argparse.Namespace, shown: Bar) -> ForecastFigures:
    names = [arguments.scenario] if arguments.scenario else list(SCENARIOS)
    ours: dict[str, Score] = {}
    naive: dict[str, Score] = {}
    cpu_s = 0.0
    for name in names:
        shown.phase(name)
        scores: list[tuple[Score, Score]] = []
        for seed in range(arguments.forecasts):
            weeks = simulate(name, seed, weeks=arguments.weeks)
            began = time.process_time()
            made = await asyncio.to_thread(foreseen, weeks)
            cpu_s += time.process_time() - began
            scores.append((scored(weeks, made.quantiles), scored(weeks, naive_quantiles(weeks))))
        ours[name] = backtest.mean([one for one, _ in scores])
        naive[name] = backtest.mean([other for _, other in scores])
    count = arguments.forecasts
    return ForecastFigures(
        weeks=arguments.weeks,
        forecasts=count,
        forecast=ours,
        naive=naive,
        cpu_s=round(cpu_s / (count * len(names)), 2),
    )


def foreseen(weeks: Weeks) -> Prediction:
    """What the metrics service would predict."""
    from services.metrics.forecasting.seasonal import predict  # the extra `forecast`; 1.4 s to import

    return predict(Series(start=0, values=filled(weeks.seen)), len(weeks.true))


def naive_quantiles(weeks: Weeks) -> list[list[float]]:
    """Each hour as a week before, with intervals from how much weeks differed in the past."""
    seen = filled(weeks.seen)
    floor = 0.1 * sum(seen) / len(seen)
    pairs = zip(seen[WEEK:], seen[:-WEEK], strict=True)
    off = sorted(math.log((now + floor) / (before + floor)) for now, before in pairs)
    spread = [off[min(len(off) - 1, int(level * len(off)))] for level in LEVELS]
    last = seen[-WEEK:]
    ahead = range(len(weeks.true))
    return [[max(0.0, (last[hour % WEEK] + floor) * math.exp(one) - floor) for one in spread] for hour in ahead]


def scored(weeks: Weeks, quantiles: list[list[float]]) -> Score:
    """The score of the `quantiles` of each hour, against what came."""
    highest = max(filled(weeks.seen)[-WEEK:])
    chances = [
        (
            list(chances_until([chance_above(hour, factor * highest) for hour in quantiles]))[-1],
            max(weeks.true) > factor * highest,
        )
        for factor in CAPACITIES
    ]
    return backtest.score(quantiles, weeks.true, chances)
