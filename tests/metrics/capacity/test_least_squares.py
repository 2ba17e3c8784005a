from __future__ import annotations

import random

import pytest

from services.metrics.capacity.least_squares import fit, predict


def test_it_finds_the_law_behind_noisy_figures():
    chance = random.Random(1)
    rows = [(1.0, chance.uniform(0, 5000), chance.uniform(0, 300)) for _ in range(60)]
    used = [0.02 + 1e-5 * a + 2e-3 * b + chance.gauss(0, 0.01) for _, a, b in rows]
    found = fit(rows, used, [1.0] * 60, prior=(0.01, 3e-6, 5e-4), noise=0.02)
    assert found.coefficients == pytest.approx((0.02, 1e-5, 2e-3), rel=0.25, abs=0.005)
    assert found.quality > 0.98
    assert found.error == pytest.approx(0.01, rel=0.4)


def test_without_figures_it_is_the_prior():
    found = fit([], [], [], prior=(2.0, 3.0), noise=1)
    assert (found.coefficients, found.quality) == ((2.0, 3.0), 0)


def test_no_coefficient_is_negative():
    """More load cannot cost less, whatever a disturbed measurement says."""
    rows = [(1.0, float(x)) for x in range(10)]
    found = fit(rows, [10.0 - x for x in range(10)], [1.0] * 10, prior=(1.0, 1.0), noise=0.01)
    assert found.coefficients[1] == 0
    assert found.coefficients[0] == pytest.approx(5.5, rel=0.01)


def test_figures_that_do_not_vary_prove_nothing():
    assert fit([(1.0,)] * 3, [5.0] * 3, [1.0] * 3, prior=(1.0,), noise=0.1).quality == 0


def test_loads_that_always_come_together_are_predicted_together():
    """Which of two features costs what cannot be known then, but their sum can."""
    rows = [(1.0, float(x), 2.0 * x) for x in range(1, 20)]
    found = fit(rows, [3.0 * x for x in range(1, 20)], [1.0] * 19, prior=(0.1, 1.0, 1.0), noise=0.1)
    assert predict(found.coefficients, (1.0, 100.0, 200.0)) == pytest.approx(300, rel=0.02)
