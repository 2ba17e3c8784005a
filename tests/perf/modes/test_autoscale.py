"""`perf autoscale`: the load is as the options say, a report names what was broken, the chart is drawn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local import record
from deploy.local.settings import Folders, plan_from
from perf.errors import Refusal
from perf.modes import autoscale
from perf.modes.autoscale_figures import AutoscaleFigures, broken_promises
from perf.report import scaling_chart
from perf.report.scaling_chart import Sample
from perf.settings import PerfSettings

WELL = AutoscaleFigures(
    connections=8, waves=2, published=30, publish_failures={}, expected=120, delivered=120, lost=0, repeats=0,
    closed=3, closes={"1001": 3}, back=3, recovered=3, reconnect_failures={}, edges_first=2, edges_most=3,
    edges_last=2, changes=[], samples=[], broken_promises=[],
)  # fmt: skip


def parsed(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    autoscale.add_arguments(parser)
    return parser.parse_args(given)


def test_a_run_without_loss_in_which_edges_come_and_go_keeps_every_promise() -> None:
    assert broken_promises(WELL) == []
    assert "every promise kept" in WELL.table()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lost": 1}, "1 deliveries lost, 0 made twice"),
        ({"repeats": 2}, "0 deliveries lost, 2 made twice"),
        ({"publish_failures": {"http 503": 1}}, "publishes failed: 1 x http 503"),
        ({"back": 2, "recovered": 2}, "of 3 clients that were closed 2 came back recovered"),
        ({"recovered": 2}, "of 3 clients that were closed 2 came back recovered"),
        ({"edges_most": 2}, "no edge came"),
        ({"edges_last": 3}, "no edge left"),
    ],
)
def test_each_broken_promise_is_named(change: dict[str, Any], words: str) -> None:
    assert broken_promises(msgspec.structs.replace(WELL, **change)) == [words]


async def test_a_stack_without_an_autoscaler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match="make up EDGES=auto"):
        await autoscale.run(parsed(), PerfSettings())
    folders = Folders(tmp_path)
    folders.run.mkdir(parents=True)
    record.write_plan(folders, plan_from({"EDGES": "2"}))
    with pytest.raises(Refusal, match="make up EDGES=auto"):
        await autoscale.run(parsed(), PerfSettings())


@pytest.mark.parametrize("given", [("--waves", "3"), ("--hold", "0"), ("--publish-rate", "0"), ("--after", "-1")])
async def test_a_load_that_cannot_be_is_refused(given: tuple[str, str]) -> None:
    with pytest.raises(Refusal):
        await autoscale.run(parsed(*given), PerfSettings())


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    samples = [Sample(0, 0, 2, 0, None, 0), Sample(1, 50, 3, 0, 3, 500), Sample(2, 10, 2, 1, 2, 900)]
    assert scaling_chart.draw(tmp_path / "run" / "chart.png", samples).stat().st_size > 1000
