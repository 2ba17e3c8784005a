"""How the HTTP server itself refuses a client, before an application has its request. Pure."""

from __future__ import annotations

from http import HTTPStatus

import msgspec


def refusal(status: HTTPStatus, why: str, has_body: bool = True) -> bytes:
    """The whole answer; an answer to a HEAD has no body. It looks like any error of the server and sessions APIs: a
    caller need not know which layer refused the request."""
    body = msgspec.json.encode({"error": {"code": status, "message": why}})
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\n"
        "connection: close\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")
