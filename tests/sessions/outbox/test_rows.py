"""A row as a call of the server API, and what an edge's answer means."""

from __future__ import annotations

import json

import pytest

from proto import codes
from services.sessions.outbox.rows import MAX_CALL_BYTES, NotNow, Outcome, Published, Refused, Row, call_of, outcome_of

ROW = Row(7, "5e0c", "chat:tea", '{"n": 1.50}', None, None, 0.0)


def test_a_call_has_the_data_as_they_were_written_and_the_row_s_key():
    body = call_of(ROW)
    assert body is not None and b'{"n": 1.50}' in body
    assert json.loads(body) == {"channel": "chat:tea", "data": {"n": 1.5}, "idempotency_key": "outbox:5e0c"}


def test_a_call_says_how_old_its_key_is():
    for age, told in ((12.3456, 12.346), (0.0, 0.001)):
        assert json.loads(call_of(ROW, age) or b"")["key_age"] == told


def test_bytes_and_tags_are_passed_on():
    body = call_of(ROW._replace(data=None, binary=b"\x00\xff", tags='{"k": "v"}'))
    assert body is not None
    call = json.loads(body)
    assert (call["b64data"], call["tags"], "data" in call) == ("AP8=", {"k": "v"}, False)


@pytest.mark.parametrize("row", [ROW._replace(data=None), ROW._replace(data=json.dumps("x" * MAX_CALL_BYTES))])
def test_a_row_that_is_too_large_is_no_call(row: Row):
    assert call_of(row) is None


def error(code: codes.ErrorCode, why: str = "") -> bytes:
    return json.dumps({"error": {"code": code.code, "message": why or code.message}}).encode()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b'{"result": {"offset": 3, "epoch": "e"}}', Published()),
        (b'{"result": {}}', Published()),
        (error(codes.UNKNOWN_CHANNEL), Refused(102, "unknown channel (102)")),
        (error(codes.BAD_REQUEST, "a\0b"), Refused(107, "a\ufffdb (107)")),
        (error(codes.BAD_REQUEST, "bad request: too deep"), Refused(107, "bad request: too deep (107)")),
        (error(codes.UNRECOVERABLE_POSITION), Refused(112, "unrecoverable position (112)")),
        (error(codes.INTERNAL), NotNow("internal server error (100)")),
        (error(codes.TOO_MANY_REQUESTS), NotNow("too many requests (111)", sent=False)),
        (error(codes.LIMIT_EXCEEDED), NotNow("limit exceeded (106)", sent=False)),
        (b"<html>", NotNow("an edge's answer cannot be read")),
        (b"{}", NotNow("an edge's answer has neither a result nor an error")),
    ],
)
def test_only_what_would_fail_again_is_refused(answer: bytes, outcome: Outcome):
    assert outcome_of(answer) == outcome
