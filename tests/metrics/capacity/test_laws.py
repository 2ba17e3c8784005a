from __future__ import annotations

import random

import pytest

from services.metrics.capacity.laws import PRIORS, busy_for, fit_laws, waiting
from services.metrics.capacity.levels import Levels
from tests.metrics.capacity.edges import BYTES_CONNECTION, BYTES_FIXED, CPU_FIXED, minute


def a_day() -> Levels:
    """An edge through a day: commands and deliveries vary beside the connections."""
    levels, chance = Levels(), random.Random(2)
    for at in range(300):
        connections = chance.uniform(50, 2500)
        levels.add(minute(connections, chance.uniform(1, 6) * connections, 0.2 * connections, at=60 * at, noise=chance))
    return levels


def test_the_laws_are_found_and_predict_a_load_that_was_never_seen():
    laws = fit_laws(a_day())
    beyond = minute(5000, 15_000, 1000)
    assert laws["cpu"].usage(beyond) == pytest.approx(beyond.cpu, rel=0.1)
    assert laws["memory"].usage(beyond) == pytest.approx(BYTES_FIXED + 5000 * BYTES_CONNECTION, rel=0.1)
    assert laws["descriptors"].usage(beyond) == pytest.approx(5025, rel=0.01)
    assert laws["bandwidth"].usage(beyond) == pytest.approx(15_000 * 150, rel=0.1)
    assert laws["loop_lag"].usage(beyond) == pytest.approx(beyond.loop_lag_s, rel=0.3)
    assert laws["cpu"].fixed == pytest.approx(CPU_FIXED, abs=0.02)


def test_quality_tells_a_law_from_noise():
    laws = fit_laws(a_day())
    assert laws["cpu"].quality > 0.9
    assert laws["memory"].quality > 0.9
    levels, chance = Levels(), random.Random(3)
    for at in range(100):
        levels.add(minute(chance.uniform(10, 2000), at=60 * at)._replace(cpu=chance.uniform(0.1, 0.9)))
    assert fit_laws(levels)["cpu"].quality < 0.5


def test_before_anything_is_measured_the_benchmarks_speak():
    laws = fit_laws(Levels())
    assert (laws["cpu"].fixed, *laws["cpu"].slopes) == PRIORS["cpu"][0]
    assert laws["cpu"].quality == 0


def test_waiting_and_its_inverse():
    assert [waiting(0), waiting(0.5), waiting(0.9)] == [0, 1, pytest.approx(9)]
    assert waiting(5) == waiting(1) < 100
    assert busy_for(waiting(0.7)) == pytest.approx(0.7)
    assert busy_for(-1) == 0
