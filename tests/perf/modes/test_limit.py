"""What `perf limit` predicts, and what it takes for the measured limit. The run itself needs a quiet machine."""

from __future__ import annotations

import pytest

from perf.errors import RunFailed
from perf.modes.limit import crossing, limit_of
from services.metrics.capacity.laws import fit_laws
from services.metrics.capacity.levels import Levels
from services.metrics.minutes import Minute


def edge(count: int, rate: float) -> Minute:
    """Ten microseconds for a delivery, and a tenth of a core besides."""
    return Minute(
        0, "", 60, connections=count, channels=1, subscriptions=count, publishes=rate, messages_out=rate * count,
        cpu=0.1 + 1e-5 * rate * count, memory_bytes=5e7, open_fds=count + 30,
    )  # fmt: skip


def test_the_predicted_rate_is_the_one_at_which_the_edge_uses_its_share() -> None:
    levels = Levels()
    for count in (100, 200, 400):
        for rate in (10.0, 30.0, 90.0):
            levels.add(edge(count, rate))
    rate = limit_of(fit_laws(levels), 1000, 0.5)
    assert edge(1000, rate).cpu == pytest.approx(0.5, rel=0.1)


def test_an_idle_edge_beyond_the_limit_is_refused() -> None:
    with pytest.raises(RunFailed, match="larger --share"):
        limit_of(fit_laws(Levels()), 50_000, 0.05)


def test_the_measured_limit_lies_on_the_line_between_the_points_around_it() -> None:
    assert crossing([(10, 0.1), (30, 0.6), (20, 0.3)], 0.45) == pytest.approx(25)
    assert crossing([(10, 0.1), (20, 0.2)], 0.4) == pytest.approx(40)
