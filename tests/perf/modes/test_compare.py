"""`python -m perf compare` as its users run it: small, with what every checkout has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.perf.command import perf

pytestmark = [pytest.mark.integration, pytest.mark.native]


async def test_two_systems_are_started_measured_and_stopped(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "compare", "--quick", "--only", "starlette,fairlead", "--results", "out")
    assert outcome.code == 0, outcome.output
    assert outcome.report["failures"] == {}
    trials = {trial["contender"]: trial for trial in outcome.report["trials"]}
    assert trials.keys() == {"starlette", "fairlead"}
    for trial in trials.values():
        assert trial["steady"]["connected"] == trial["burst"]["connected"] == 40
        assert trial["latency"]["received"] == trial["latency"]["expected"] == 100
        assert trial["fanout"]["received"] == trial["fanout"]["expected"] > 0
        assert trial["idle_pss_bytes"] > 1_000_000
    assert trials["fairlead"]["stop"]["codes"] == {"1001": 20}
    assert trials["starlette"]["stop"]["codes"] == {"1012": 20}
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in outcome.output + "\n"
    assert "Fairlead, one edge" in table
    assert str(tmp_path) not in str(outcome.report)


async def test_one_that_is_not_known_is_refused_with_the_names_of_those_that_are(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "compare", "--only", "centrifugo")
    assert outcome.code == 2
    assert "fairlead-stack" in outcome.output


async def test_a_target_elsewhere_is_refused(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "compare", "--target", "far=ws://192.0.2.1:8000/x", "--only", "far")
    assert (outcome.code, outcome.report) == (2, {})
    assert "127.0.0.0/8" in outcome.output
