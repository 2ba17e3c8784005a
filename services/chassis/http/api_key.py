"""The API key of backends and operators: `X-API-Key: <key>`, `Authorization: apikey <key>`, or `?api_key=<key>`."""

from __future__ import annotations

import hmac
from typing import Final

from starlette.requests import Request

_EXPECTED: Final = "expected the API key as header X-API-Key (http_api.key in the configuration)"
_NOT_CONFIGURED: Final = "no API key is configured (http_api.key), so every call is refused"


def refusal(key: bytes) -> str:
    """The text of the answer to a request without the configured `key`, with status 401."""
    return _EXPECTED if key else _NOT_CONFIGURED


def has_key(request: Request, key: bytes) -> bool:
    """Whether `request` carries `key`, compared in constant time. Never if no key is configured (empty)."""
    given = request.headers.get("x-api-key") or request.query_params.get("api_key") or ""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if not given and scheme.lower() == "apikey":
        given = value.strip()
    return bool(key) and hmac.compare_digest(given.encode(), key)
