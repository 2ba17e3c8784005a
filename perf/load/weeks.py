"""Simulated weeks of demand, hour by hour, for the back-test of the forecast: what follows them is known exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final, NamedTuple

WEEK: Final = 168


class Weeks(NamedTuple):
    """`seen` is what a service would have recorded (None while it was away), `true` is what follows."""

    seen: list[float | None]
    true: list[float]


_DAY: Final = (28, 22, 18, 16, 16, 20, 32, 50, 68, 80, 88, 92, 94, 92, 90, 88, 90, 96, 100, 98, 90, 76, 58, 40)
"""An ordinary day, hour by hour, as a percentage of its peak."""
_WEEKDAYS: Final = (1.0, 1.02, 1.03, 1.02, 0.95, 0.68, 0.62)


def ordinary(length: int, chance: random.Random, *, growth: float = 0.0, noise: float = 0.04) -> list[float]:
    """Weeks from a Monday on: a daily and a weekly pattern, `growth` a week (as a share), and noise that lasts for
    hours, as crowds do, with a burst now and then."""
    values, drift = [], 0.0
    for hour in range(length):
        drift = 0.85 * drift + chance.gauss(0, noise * math.sqrt(1 - 0.85**2))
        burst = chance.uniform(0.1, 0.5) if chance.random() < 0.004 else 0.0
        level = 10_000 * (1 + growth) ** (hour / WEEK)
        shape = _DAY[hour % 24] / 100 * _WEEKDAYS[hour // 24 % 7]
        values.append(max(0.0, level * shape * math.exp(drift) * (1 + burst)))
    return values


def _plain(values: list[float], cut: int) -> list[float | None]:
    return list(values[:cut])


def _holiday(values: list[float], cut: int) -> list[float | None]:
    """A working day, in the last week that was seen, at two fifths of its load."""
    seen = _plain(values, cut)
    begin = (cut - 5 * 24) // 24 * 24
    seen[begin : begin + 24] = [0.4 * value for value in values[begin : begin + 24]]
    return seen


def _step(values: list[float], cut: int) -> list[float | None]:
    """Four days ago a customer came for good, which added half as much again. Changes the later `values` too."""
    begin = cut - 4 * 24
    values[begin:] = [1.5 * value for value in values[begin:]]
    return _plain(values, cut)


def _outage(values: list[float], cut: int) -> list[float | None]:
    """Two days ago nothing worked for five hours; the week before the metrics service was away for twelve."""
    seen = _plain(values, cut)
    seen[cut - 50 : cut - 45] = [0.02 * value for value in values[cut - 50 : cut - 45]]
    seen[cut - 230 : cut - 218] = [None] * 12
    return seen


class Scenario(NamedTuple):
    """One kind of weeks. `damage` turns the whole series into what was seen until `cut`."""

    growth: float
    damage: Callable[[list[float], int], list[float | None]]
    meaning: str


SCENARIOS: Final[dict[str, Scenario]] = {
    "weekly": Scenario(0.0, _plain, "a daily and weekly pattern, no growth"),
    "trend": Scenario(0.05, _plain, "the same, growing by 5 % a week"),
    "holiday": Scenario(0.01, _holiday, "a holiday in the last week that was seen"),
    "step": Scenario(0.0, _step, "half as much again for the last four days"),
    "outage": Scenario(0.01, _outage, "five hours down two days ago, and twelve hours of the history missing"),
}


def simulate(name: str, seed: int, *, weeks: int = 6, ahead: int = WEEK) -> Weeks:
    """`weeks` weeks and some hours that depend on the seed, and the `ahead` hours after them."""
    chance = random.Random(f"{name} {seed}")
    scenario = SCENARIOS[name]
    cut = weeks * WEEK + chance.randrange(WEEK)
    values = ordinary(cut + ahead, chance, growth=scenario.growth)
    seen = scenario.damage(values, cut)
    return Weeks(seen, values[cut:])
