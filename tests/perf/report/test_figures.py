"""Percentiles are measured values; failures are listed by frequency; a report is JSON made from its struct."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.report import figures, tables
from perf.report.distribution import Distribution, distribution, percentile
from perf.report.figures import Figures


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (90, 90), (99, 99), (100, 100), (0, 1)])
def test_nearest_rank(percent: float, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected


@given(st.lists(st.floats(0, 100), min_size=1))
def test_a_distribution_ascends_and_ends_with_the_maximum(samples: list[float]) -> None:
    values = list(msgspec.to_builtins(distribution(samples)).values())
    assert values == sorted(v for v in values if v is not None)
    assert values[-1] == round(max(samples), 6)


def test_no_samples_give_no_figures_instead_of_zeros() -> None:
    assert distribution([]) == Distribution(p50=None, p90=None, p99=None, max=None)
    assert distribution([]).in_ms() == "p50 -  p90 -  p99 -  max -"


def test_the_most_frequent_cause_comes_first() -> None:
    assert tables.causes({"refused (tcp)": 2, "http 503": 7}) == "7 x http 503, 2 x refused (tcp)"
    assert tables.causes({}) == "none"


def test_a_report_is_json_that_a_person_can_read(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "out.json"
    figures.write(file, {"connected": 3, "edge_rss_bytes": None})
    assert json.loads(file.read_text()) == {"connected": 3, "edge_rss_bytes": None}
    assert file.read_text().count("\n") == 4


class Inner(Figures):
    lost: int
    age_s: Distribution


class Outer(Figures):
    FLAT = ("last",)

    last: Inner
    lost: int


def test_flat_figures_stand_beside_the_others_which_win() -> None:
    found = Outer(last=Inner(lost=1, age_s=distribution([0.5])), lost=3)
    assert found.to_json() == {"lost": 3, "age_s": {"p50": 0.5, "p90": 0.5, "p99": 0.5, "max": 0.5}}
