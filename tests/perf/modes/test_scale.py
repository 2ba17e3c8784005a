"""`scale`: the processes and addresses of a step, its table, and one real run with few clients."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perf.errors import Refusal
from perf.modes import scale, scale_figures
from tests.perf.command import perf

DESCRIPTORS, PORTS = 20_000, 28_232


def planned(*options: str, descriptors: int = DESCRIPTORS) -> list[argparse.Namespace]:
    parser = argparse.ArgumentParser()
    scale.add_arguments(parser)
    return scale.planned(parser.parse_args(options), descriptors, PORTS)


def step(connections: int, shots_s: list[float | None]) -> Any:
    costs = SimpleNamespace(
        edge_rss_bytes_for_each_connection=3200,
        edge_heap_bytes_for_each_connection=3100,
        kernel_bytes_for_each_connection=9000,
        edge_cpu_us_for_each_connect=300.5,
        edge_cpu_us_for_each_connection_and_second=4.5,
    )
    held = SimpleNamespace(
        connections=connections,
        failed=0,
        lost=3,
        pings_for_each=1.25,
        shots=[SimpleNamespace(age_s=SimpleNamespace(p50=0.1, max=slowest)) for slowest in shots_s],
        deliveries_lost=7,
        machine_busy_connecting=0.8,
        machine_busy_holding=0.2,
        costs=costs,
    )
    return SimpleNamespace(edges=2, held=held)


def test_a_step_has_as_many_processes_as_the_descriptors_need() -> None:
    steps = planned()
    assert [step.connections for step in steps] == [5_000, 20_000, 50_000, 100_000]
    assert [step.edges for step in steps] == [step.processes for step in steps] == [1, 2, 3, 6]
    assert all(step.connections / step.edges <= DESCRIPTORS - scale.SPARE_DESCRIPTORS for step in steps)


def test_no_address_runs_short_of_ports() -> None:
    assert all(step.connections / step.source_spread <= PORTS / 10 for step in planned("--steps", "1,2001,100000"))


def test_processes_can_be_filled_less() -> None:
    assert [step.edges for step in planned("--steps", "900,1000,1001", "--fill", "500")] == [2, 2, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "5k"], "--steps"),
        (["--steps", "0"], "at least 1"),
        (["--fill", "19900"], "--fill"),
        (["--connect-rate", "0"], "--connect-rate"),
        (["--hold", "0"], "--hold"),
        (["--shots", "-1"], "--shots"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(options: list[str], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        planned(*options)


def test_a_limit_below_the_spare_descriptors_is_refused() -> None:
    with pytest.raises(Refusal, match="descriptors"):
        planned(descriptors=scale.SPARE_DESCRIPTORS)


def test_the_table_has_a_line_for_each_step_and_the_median_of_its_shots() -> None:
    head, _, first, second = scale_figures.table([step(5_000, [0.1, 0.3, 0.2]), step(20_000, [None])]).splitlines()
    assert first == "| 5,000 | 2 | 0 | 3 | 1.25 | 3,200 | 3,100 | 9,000 | 300.5 | 4.5 | 200 | 7 | 0.8 | 0.2 |"
    assert "| - | 7 |" in second
    assert head.count("|") == first.count("|") == second.count("|")


async def test_a_climb(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charts")
    options = ["--steps", "50,100", "--fill", "50", "--hold", "1.5", "--ping-interval", "1", "--shots", "2"]
    climb = await perf(tmp_path, "scale", *options, "--results", "out")
    assert climb.code == 0, climb.output
    assert "Traceback" not in climb.output
    small, large = climb.report["steps"]
    assert (small["connections"], small["edges"], large["connections"], large["edges"]) == (50, 1, 100, 2)
    assert [small["lost"], large["lost"], large["failed"], large["deliveries_lost"]] == [0, 0, 0, 0]
    assert large["pings_answered"] >= 100
    assert [shot["delivered"] for shot in large["shots"]] == [100, 100]
    assert climb.report["failures"] == {}
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"scale.json", "table.md", "bytes.png", "cpu-connect.png", "cpu-held.png", "to-all.png"}
    assert (tmp_path / "out" / "table.md").read_text().strip() in climb.output
