"""The API key in each of its forms; never without one, never when none is configured."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from services.chassis.http.api_key import has_key, refusal


def request(headers: dict[str, str], query: str = "") -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("headers", "query", "right"),
    [
        ({"X-API-Key": "key"}, "", True),
        ({"Authorization": "apikey key"}, "", True),
        ({"Authorization": "ApiKey  key"}, "", True),
        ({}, "api_key=key", True),
        ({}, "", False),
        ({"X-API-Key": "wrong"}, "api_key=key", False),
        ({"X-API-Key": "kéy"}, "", False),
        ({"Authorization": "Bearer key"}, "", False),
        ({"Authorization": "key"}, "", False),
    ],
)
def test_who_has_the_key(headers: dict[str, str], query: str, right: bool) -> None:
    assert has_key(request(headers, query), b"key") is right


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"Authorization": "apikey "}])
def test_no_key_configured_is_nobody(headers: dict[str, str]) -> None:
    assert not has_key(request(headers), b"")


def test_the_refusal_names_the_header_or_says_that_no_key_is_configured() -> None:
    assert "X-API-Key" in refusal(b"key")
    assert refusal(b"") == "no API key is configured (http_api.key), so every call is refused"
