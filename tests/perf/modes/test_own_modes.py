"""Each mode that brings its own servers, run as its users run it, with few clients: it ends well, and adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.perf.command import perf

FEW = ["--connections", "20", "--connect-rate", "500"]
SHORT = ["--publish-rate", "40", "--seconds", "0.5"]


async def report(folder: Path, mode: str, *options: str) -> dict[str, Any]:
    outcome = await perf(folder, mode, *options)
    assert outcome.code == 0, outcome.output
    assert "Traceback" not in outcome.output
    assert outcome.report.keys() >= {"command", "machine", "versions", "machine_busy"}
    return outcome.report


async def test_hold(tmp_path: Path) -> None:
    options = ["--hold", "1.5", "--ping-interval", "1", "--edges", "2", "--broadcast", "10"]
    held = await report(tmp_path, "hold", *FEW, *options)
    assert (held["connections"], held["lost"]) == (20, 0)
    assert held["pings_answered"] >= 20
    assert held["edge_rss_bytes_for_each_connection"] > 0
    assert held["broadcast"]["delivered"] == held["broadcast"]["expected"] == 20 * 15


async def test_fanout(tmp_path: Path) -> None:
    fanned = await report(tmp_path, "fanout", *FEW, *SHORT, "--live")
    assert (fanned["published"], fanned["delivered"], fanned["lost"]) == (20, 400, 0)
    assert fanned["age_s"]["p50"] > 0
    assert fanned["edge_cpu_s"] >= 0


async def test_fanout_against_another_server(tmp_path: Path) -> None:
    fanned = await report(tmp_path, "fanout", *FEW, "--seconds", "0.5", "--against", "starlette")
    assert fanned["delivered"] == fanned["expected"] > 0
    assert fanned["ratio_to"].keys() == {"starlette"}
    assert [one["lost"] for one in fanned["each"]["starlette"]] == [0]


async def test_accept(tmp_path: Path) -> None:
    accepted = await report(tmp_path, "accept", *FEW, "--rounds", "1")
    for name in ("edge_cpu_us", "own_channel_cpu_us", "starlette_cpu_us"):
        assert len(accepted[name]) == 1


async def test_limits(tmp_path: Path) -> None:
    limited = await report(tmp_path, "limits", *FEW, *SHORT, "--rounds", "1")
    assert limited["ratio"].keys() == {"accept", "publish", "fanout"}
    assert limited["lost"] == 0 and all(ratio > 0 for ratio in limited["ratio"].values())


async def test_hooks(tmp_path: Path) -> None:
    hooked = await report(tmp_path, "hooks", *FEW, "--rounds", "1")
    assert hooked["ways"].keys() == {"token", "nats", "http"}
    for way in hooked["ways"].values():
        assert way["connects_per_s"][0] > 0 and way["connect_s"][0]["p99"] > 0
    assert hooked["ratio_of_connects"].keys() == hooked["ratio_of_cpu"].keys() == {"nats", "http"}


async def test_observed(tmp_path: Path) -> None:
    observed = await report(tmp_path, "observed", *FEW, *SHORT, "--rounds", "1")
    assert observed["ratio"].keys() == {"accept", "publish", "fanout", "latency"}
    assert observed["lost"] == 0 and all(age["p50"] > 0 for (age,) in observed["age_s"].values())


async def test_observed_with_edges_of_a_checkout_that_is_not_ready_is_refused(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "observed", *FEW, "--before", str(tmp_path))
    assert outcome.code == 2 and "make install" in outcome.output


async def test_proofs(tmp_path: Path) -> None:
    options = ("--publications", "1000", "--channels", "100", "--repeats", "1")
    figures = await report(tmp_path, "proofs", *options)
    kept = {each["way"]: each["bytes_a_channel"] for each in figures["ways"]}
    assert kept["none"] == 0 < kept["written"] < kept["republished"] < kept["index"]
    assert all(each["resume_ms"] > 0 for each in figures["ways"])


async def test_outbox(tmp_path: Path) -> None:
    options = ("--rate", "40", "--seconds", "0.5", "--poll-interval", "100ms", "--backlog", "500")
    figures = await report(tmp_path, "outbox", *options)
    assert (figures["rows"], figures["lost"], figures["doubled"]) == (20, 0, 0)
    assert figures["notified_s"]["p99"] > 0 and figures["polled_s"]["p50"] > 0 and figures["backlog_a_second"] > 0


async def test_latency(tmp_path: Path) -> None:
    options = ["--channels", "4", "--rounds", "2", "--bare-nats", "--arrivals", "10"]
    options += ["--set", "process_gc_thresholds", "700,10,10"]
    delivered = await report(tmp_path, "latency", *FEW, *SHORT, *options)
    assert (delivered["delivered"], delivered["lost"]) == (20 * 5, 0)  # in each round
    assert delivered["age_s"]["p99"] > 0 and delivered["bare_nats_age_s"]["p99"] > 0
    assert delivered["p99_to_bare_nats"] > 0


async def test_latency_with_a_setting_that_edges_refuse_says_so(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "latency", *FEW, "--set", "edge_drain_rate", "fast")
    assert outcome.code == 2 and "FAIRLEAD_EDGE_DRAIN_RATE" in outcome.output


async def test_chat(tmp_path: Path) -> None:
    chatted = await report(tmp_path, "chat", *FEW, *SHORT, "--rooms", "4")
    assert (chatted["published"], chatted["delivered"], chatted["lost"]) == (20, 100, 0)


async def test_storm(tmp_path: Path) -> None:
    storm = await report(tmp_path, "storm", *FEW, "--publish-rate", "40", "--seconds", "1", "--channels", "4")
    assert (storm["lost_connections"], storm["back"], storm["recovered"]) == (20, 20, 20)
    assert (storm["delivered"], storm["gaps"], storm["repeats"]) == (40 * 5, 0, 0)
    assert storm["broken_promises"] == []


async def test_comeback(tmp_path: Path) -> None:
    options = ["--channels", "2", "--behind", "200", "--bystanders", "2", "--cost-bound", "100", "--wait-bound", "10"]
    back = await report(tmp_path, "comeback", *FEW, *options)
    assert (back["back"], back["recovered"], back["delivered"]) == (20, 20, 20 * 200)
    assert (back["gaps"], back["repeats"], back["nats_dropped_the_edge"]) == (0, 0, 0)
    assert back["fan_out"]["seconds"] > 0 and back["bystander_age_s"]["p99"] > 0
    assert 0 < back["log_reads"] <= 20


async def test_unread(tmp_path: Path) -> None:
    options = ["--connections", "2", "--history", "100", "--seconds", "1", "--wait-bound", "10"]
    unread = await report(tmp_path, "unread", *options)
    assert (unread["missed"], unread["missed_before"], unread["nats_dropped_the_edge"]) == (0, 0, 0)
    assert unread["received"] > 0 and 0 < unread["log_reads"] <= 30


async def test_slow(tmp_path: Path) -> None:
    options = ["--deaf", "2", "--size", "60000", "--publish-rate", "200", "--seconds", "1.5"]
    options += ["--memory-bound", "2000000"]  # what an edge grows by itself falls on two clients here
    slow = await report(tmp_path, "slow", "--connections", "6", *options)
    assert slow["lagged"] >= 2
    assert slow["some_deaf"]["delivered"] >= slow["some_deaf"]["expected"] == 300 * 4


async def test_memory(tmp_path: Path) -> None:
    weighed = await report(tmp_path, "memory", *FEW, "--stages", "accepted", "own", "--reference")
    assert weighed["bytes_per_connection"].keys() == {"accepted", "own"}
    assert weighed["starlette_bytes_per_connection"] is not None


async def test_start(tmp_path: Path) -> None:
    started = await report(tmp_path, "start", "--starts", "2", "--bound", "30")
    assert started["starts"] == 2
    assert started["cpu_s"]["p50"] > 0 and started["ready_s"]["p50"] > 0


async def test_a_container_that_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "start", "--container", "fairlead:no-such-image", "--starts", "1")
    assert outcome.code == 2
    assert "docker" in outcome.output and "Traceback" not in outcome.output


async def test_drain_without_a_stack(tmp_path: Path) -> None:
    options = ["--alone", "--unpaced", "--connections", "20", "--channel", "log:{i}"]
    outcome = await perf(tmp_path, "drain", *options, variables={"COLUMNS": "200"})
    assert outcome.code == 0, outcome.output
    assert outcome.report["close_codes"] == {"1001": 20}
    assert outcome.report["promised_exit_s"] == 2.0
    assert "20/20 connected, 0 failed, 20 closed" in outcome.output, "of the progress"


async def test_attacks(tmp_path: Path) -> None:
    options = ["--seconds", "0.5", "--only", "256 commands", "--bound", "30"]
    attacked = await report(tmp_path, "attacks", *options)
    [outcome] = attacked["outcomes"]
    assert outcome["sent_bytes"] > 0 and outcome["attacking_connections"] == 1
    assert outcome["ping_s"]["max"] > 0 and outcome["connects"] >= 4
    assert outcome["broken_promises"] == []


async def test_micro(tmp_path: Path) -> None:
    steps = (await report(tmp_path, "micro", "--repeats", "1"))["nanoseconds"]
    assert all(value > 0 for value in steps.values())


async def test_budget(tmp_path: Path) -> None:
    budget = await perf(tmp_path, "budget", "--quick", "--only", "drain")
    assert budget.code == len(budget.report["crossed"]), budget.output
    [line] = budget.report["lines"]
    assert line["command"].startswith("python -m perf drain ")
    assert "| drain of 500, not paced |" in budget.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["fanout", "--size", "10"], "--size"),
        (["chat", "--connections", "10", "--rooms", "3"], "multiple"),
        (["storm", "--publish-rate", "0"], "--publish-rate"),
        (["comeback", "--behind", "0"], "--behind"),
        (["unread", "--attackers", "0"], "--attackers"),
        (["slow", "--deaf", "0"], "--deaf"),
        (["start", "--starts", "0"], "--starts"),
        (["hold", "--hold", "0"], "--hold"),
        (["attacks", "--only", "tickling"], "--only"),
        (["hold", "--broadcast", "1", "--own-channels"], "--own-channels"),
    ],
)
async def test_what_would_measure_nothing_is_refused(tmp_path: Path, options: list[str], words: str) -> None:
    outcome = await perf(tmp_path, *options)
    assert (outcome.code, outcome.report) == (2, {})
    assert words in outcome.output
