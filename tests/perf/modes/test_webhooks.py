"""`perf webhooks`: one small real run."""

from __future__ import annotations

from pathlib import Path

from tests.perf.command import perf


async def test_webhooks(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "webhooks", "--facts", "4000")
    assert outcome.code == 0, outcome.output
    assert outcome.report["events"] >= outcome.report["facts"] == 4_000
    assert outcome.report["requests"] >= 40 and outcome.report["events_a_second"] > 0
