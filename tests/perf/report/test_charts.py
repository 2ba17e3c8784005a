"""Charts are drawn of what was measured, and of nothing else. Whether they are readable, only eyes can tell."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from perf.report.comparison import Connects, Fanout, Trial


@pytest.fixture
def charts() -> ModuleType:
    """Loads matplotlib, which takes more than a second, in the one process that draws."""
    module: ModuleType = pytest.importorskip("perf.report.charts", reason="matplotlib", exc_type=ImportError)
    return module


def trial(system: str) -> Trial:
    connects = Connects(500.0, 100, 100, 0.01, 0.05, 400.0, 1.5, 0.001, False)
    return Trial(system=system, repeat=1, steady=connects, fanout=Fanout(10, 10, 100, 100, 1e5, 1e5, 1.0, False))


def test_a_chart_for_each_question_that_has_an_answer(charts: ModuleType, tmp_path: Path) -> None:
    titles = {"fairlead": "Fairlead", "channels": "Channels", "send-loop": "C"}
    written = charts.draw(tmp_path, [trial(name) for name in titles], titles)
    assert {path.name for path in written} == {"connect-p99.png", "connect-cpu.png", "fanout.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_the_limit_alone_is_no_chart(charts: ModuleType, tmp_path: Path) -> None:
    assert charts.draw(tmp_path, [trial("send-loop")], {"send-loop": "C"}) == []
