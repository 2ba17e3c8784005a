"""The text of the progress bar, as its last state stays on a terminal that cannot redraw."""

from __future__ import annotations

import pytest

from perf.load.tally import Progress
from perf.report.progress_bar import bar


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_connections_that_end_are_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(500) as shown:
        shown.show(Progress(connected=499, failed=1, lost=3))
    assert "499/500 connected, 1 failed, 3 lost" in capsys.readouterr().err


def test_a_drain_among_other_measurements_has_a_total_of_its_own_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(0) as shown:
        shown.show(Progress(connected=500, lost=500), total=500, ended="closed")
    assert "500/500 connected, 0 failed, 500 closed" in capsys.readouterr().err
    with bar(0) as shown:
        shown.show(Progress(connected=500, lost=500), total=500, ended="closed")
        shown.show(Progress(connected=20))
    assert " 20 connected, 0 failed, 0 lost" in capsys.readouterr().err, "nothing of the drain stays"
