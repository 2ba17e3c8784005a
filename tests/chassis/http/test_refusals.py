"""The answer to a client that the HTTP server itself refuses."""

from __future__ import annotations

import json
from http import HTTPStatus

from services.chassis.http.refusals import refusal


def test_it_is_an_http_answer_with_an_error_as_apis_have_them() -> None:
    head, _, body = refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, 'not "é"').partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert f"content-length: {len(body)}".encode() in fields and b"connection: close" in fields
    assert json.loads(body) == {"error": {"code": 431, "message": 'not "é"'}}
    without = refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, 'not "é"', has_body=False)
    assert without == head + b"\r\n\r\n"
