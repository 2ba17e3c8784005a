"""Log lines, as a process writes them: in a separate process, since logging is set up once for a whole process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from services.chassis.process.log import JsonFormatter, TextFormatter, Throttle
from services.chassis.tracing.span import SERVER, working_in
from tests.chassis.tracing.receiver_double import KeptSpans, tracer

SAYS = """
import logging, sys
from services.chassis.process.log import configure
from services.chassis.process.settings import LogSettings
configure(LogSettings(level=sys.argv[1], format=sys.argv[2]), sys.argv[3], is_quiet=sys.argv[4:] == ["quiet"])
log = logging.getLogger("edge")
log.debug("a detail")
beside = {"user": "alice", "code": 103, "of": ValueError("x"), "level": "mine"}
log.info("hello %s", "grüße\\n2026-11-29T00:00:00Z INFO edge-1: forged user=bob", extra=beside)
logging.getLogger("nats").info("chatter of a library")
try:
    raise ValueError("first\\n2026-11-29T00:00:00Z INFO edge-1: forged")
except ValueError:
    log.exception("failed")
"""


def lines(level: str, form: str, process: str = "edge-1", *quiet: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", SAYS, level, form, process, *quiet],
        capture_output=True,
        check=True,
        encoding="utf-8",
        env={"PYTHONUTF8": "1"},
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_text_for_people_has_the_fields_behind_the_message() -> None:
    first, *_ = lines("info", "text")
    assert "Z INFO    edge-1: hello grüße" in first
    assert first.endswith(" user=alice code=103 of=x")


def test_no_text_of_others_begins_a_line_or_looks_like_a_field() -> None:
    written = lines("info", "text")
    assert len([line for line in written if line.startswith("2026-")]) == 2, "as many as were logged"
    assert [line for line in written if " user=bob" in line] == []


def test_json_for_machines_is_one_line_a_record() -> None:
    records = [json.loads(line) for line in lines("info", "json")]
    assert [record["message"] for record in records] == [
        "hello grüße\n2026-11-29T00:00:00Z INFO edge-1: forged user=bob",
        "failed",
    ]
    assert {record["process"] for record in records} == {"edge-1"}
    assert [record["level"] for record in records] == ["info", "error"]
    assert "ValueError" in records[1]["exception"]


def test_fields_of_a_record_are_fields_of_the_object() -> None:
    first, second = (json.loads(line) for line in lines("info", "json"))
    assert {name: first[name] for name in ("user", "code", "of")} == {"user": "alice", "code": 103, "of": "x"}
    assert first["level"] == "info"
    assert second.keys() == {"time", "level", "process", "logger", "message", "exception"}


def test_a_line_within_a_span_has_its_ids() -> None:
    span = tracer(KeptSpans()).begin("x", SERVER, None, {})
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
    ids = (span.context.trace_id, span.context.span_id)
    with working_in(span):
        inside = json.loads(JsonFormatter("edge-1").format(record))
        assert (inside["trace_id"], inside["span_id"]) == ids
        assert TextFormatter("edge-1").format(record).endswith(f" trace_id={ids[0]} span_id={ids[1]}")
    assert not {"trace_id", "span_id"} & json.loads(JsonFormatter("edge-1").format(record)).keys()


@pytest.mark.parametrize(("level", "messages"), [("debug", 3), ("info", 2), ("error", 1)])
def test_levels(level: str, messages: int) -> None:
    assert len(lines(level, "json")) == messages


@pytest.mark.parametrize(("level", "messages"), [("debug", 3), ("info", 1), ("error", 1)])
def test_what_prints_an_answer_logs_no_more_than_warnings_beside_it_unless_everything_is_wanted(
    level: str, messages: int
) -> None:
    assert len(lines(level, "json", "sessions-1", "quiet")) == messages


def test_a_process_may_have_any_name() -> None:
    assert " 100%s: " in lines("info", "text", "100%s")[0]


def test_a_throttle_lets_a_few_through_and_counts_the_rest() -> None:
    throttle = Throttle(burst=2, per_s=10.0)
    assert [throttle.allows(0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert throttle.allows(9.9) is None
    assert [throttle.allows(10.0), throttle.allows(10.0)] == [4, 0]


def test_one_who_causes_many_lines_leaves_room_for_others() -> None:
    throttle = Throttle(burst=3, per_s=10.0, each=2)
    assert [throttle.allows(0.0, who) for who in ("a", "a", "a", "b", "c")] == [0, 0, None, 1, None]
    assert throttle.allows(10.0, "a") == 1


def test_lines_that_nobody_in_particular_causes_are_bounded_together_alone() -> None:
    throttle = Throttle(burst=3, per_s=10.0, each=2)
    assert [throttle.allows(0.0) for _ in range(4)] == [0, 0, 0, None]
