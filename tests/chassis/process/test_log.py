"""Log lines, as a process writes them: in one of its own, since logging is set up once for a whole process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from services.chassis.process.log import JsonFormatter, Throttle
from services.chassis.tracing.span import SERVER, working_in
from tests.chassis.tracing.receiver_double import KeptSpans, tracer

SAYS = """
import logging, sys
from services.chassis.process.log import configure
from services.chassis.process.settings import LogSettings
configure(LogSettings(level=sys.argv[1], format=sys.argv[2]), sys.argv[3])
log = logging.getLogger("edge")
log.debug("a detail")
beside = {"user": "alice", "code": 103, "of": ValueError("x"), "level": "mine"}
log.info("hello %s", "grüße\\nsecond line", extra=beside)
logging.getLogger("nats").info("chatter of a library")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def lines(level: str, form: str, process: str = "edge-1") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", SAYS, level, form, process],
        capture_output=True,
        check=True,
        encoding="utf-8",
        env={"PYTHONUTF8": "1"},
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_text_for_people() -> None:
    first, *_ = lines("info", "text")
    assert first.endswith("Z INFO    edge-1: hello grüße")


def test_json_for_machines_is_one_line_a_record() -> None:
    records = [json.loads(line) for line in lines("info", "json")]
    assert [record["message"] for record in records] == ["hello grüße\nsecond line", "failed"]
    assert {record["process"] for record in records} == {"edge-1"}
    assert [record["level"] for record in records] == ["info", "error"]
    assert "ZeroDivisionError" in records[1]["exception"]


def test_fields_of_a_record_are_in_the_json_form_alone() -> None:
    first, second = (json.loads(line) for line in lines("info", "json"))
    assert {name: first[name] for name in ("user", "code", "of")} == {"user": "alice", "code": 103, "of": "x"}
    assert first["level"] == "info"
    assert second.keys() == {"time", "level", "process", "logger", "message", "exception"}
    assert "alice" not in "".join(lines("info", "text"))


def test_a_line_within_a_span_has_its_ids() -> None:
    span = tracer(KeptSpans()).begin("x", SERVER, None, {})
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
    with working_in(span):
        inside = json.loads(JsonFormatter("edge-1").format(record))
    assert (inside["trace_id"], inside["span_id"]) == (span.context.trace_id, span.context.span_id)
    assert not {"trace_id", "span_id"} & json.loads(JsonFormatter("edge-1").format(record)).keys()


@pytest.mark.parametrize(("level", "messages"), [("debug", 3), ("info", 2), ("error", 1)])
def test_levels(level: str, messages: int) -> None:
    assert len(lines(level, "json")) == messages


def test_a_process_may_have_any_name() -> None:
    assert " 100%s: " in lines("info", "text", "100%s")[0]


def test_a_throttle_lets_a_few_through_and_counts_the_rest() -> None:
    throttle = Throttle(burst=2, per_s=10.0)
    assert [throttle.allows(0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert throttle.allows(9.9) is None
    assert [throttle.allows(10.0), throttle.allows(10.0)] == [4, 0]
