"""`python -m perf connect` as its users run it, against a stub: report, exit code, and what must not be in either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perf.load import target
from perf.modes import connect
from tests.perf.command import perf
from tests.perf.load.stub_edge import StubEdge

SECRET = "a-recognisable-secret-of-the-tests-0123456789"
PROMISED = {
    *("attempted", "connected", "failed", "connect_s", "connects_per_s", "edge_rss_bytes", "edge_cpu_s"),
    *("machine", "versions", "command", "url", "lateness_s", "lost_during_hold", "failures"),
}


def options(stub: StubEdge) -> list[str]:
    url = f"ws://127.0.0.1:{stub.port}/connection/websocket"
    return ["connect", "--url", url, "--connections", "20", "--rate", "500", "--hold", "0", "--nats-url", ""]


async def test_a_report_of_a_run_that_went_well(stub: StubEdge, tmp_path: Path) -> None:
    outcome = await perf(tmp_path, *options(stub), "--channel", "perf:{i}", "--token-secret", SECRET)
    assert outcome.code == 0, outcome.output
    assert outcome.report.keys() >= PROMISED
    assert outcome.report["connect_s"].keys() == {"p50", "p90", "p99", "max"}
    assert (outcome.report["attempted"], outcome.report["connected"], outcome.report["failed"]) == (20, 20, 0)
    assert 0 <= outcome.report["machine_busy"] <= 1
    assert outcome.report["token"]
    assert outcome.report["url"] == f"ws://127.0.0.1:{stub.port}/connection/websocket"
    assert re.search(rf"^ *address +{outcome.report['url']}$", outcome.output, re.MULTILINE)
    assert SECRET not in outcome.output + str(outcome.report)
    assert str(tmp_path) not in str(outcome.report)


async def test_a_burst_is_due_all_at_once(stub: StubEdge, tmp_path: Path) -> None:
    outcome = await perf(tmp_path, *options(stub), "--burst")
    assert outcome.code == 0, outcome.output
    assert (outcome.report["connected"], outcome.report["rate_asked_per_s"]) == (20, None)


async def test_one_failure_is_enough_for_an_exit_code(stub: StubEdge, tmp_path: Path) -> None:
    stub.errors["subscribe"] = (103, "permission denied")
    outcome = await perf(tmp_path, *options(stub), "--channel", "perf:{i}")
    assert outcome.code == 1
    assert outcome.report["failures"] == {"error 103 permission denied": 20}
    assert outcome.report["connect_s"]["p50"] is None


async def test_secrets_of_the_local_stack_are_used(stub: StubEdge, tmp_path: Path) -> None:
    (tmp_path / ".fairlead").mkdir()
    (tmp_path / ".fairlead" / "secrets.env").write_text(f"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY={SECRET}\n")
    assert (await perf(tmp_path, *options(stub))).code == 0
    assert all("token" in command["connect"] for command in stub.commands)


async def test_a_target_elsewhere_is_refused_before_anything_is_sent(stub: StubEdge, tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "connect", "--url", f"ws://192.0.2.1:{stub.port}/x")
    assert (outcome.code, outcome.report) == (2, {})
    assert "127.0.0.0/8" in outcome.output


async def test_a_run_has_an_end(stub: StubEdge, tmp_path: Path) -> None:
    outcome = await perf(tmp_path, *options(stub)[:-4], "--hold", "600", "--nats-url", "", "--deadline", "2")
    assert (outcome.code, outcome.report) == (1, {})
    assert "--deadline" in outcome.output


@pytest.mark.parametrize(
    ("url", "shown"),
    [("ws://localhost:80/x?cf_connect=secret", "ws://127.0.0.1:80/x"), ("ws://[::1]:8002", "ws://[::1]:8002/")],
)
def test_the_address_of_a_report_can_be_used_and_holds_no_secret(url: str, shown: str) -> None:
    assert connect.address(target.parse(url)) == shown
