"""The API keys of backends and operators: `X-API-Key: <key>`, `Authorization: apikey <key>`, or `?api_key=<key>`.

A key has a scope, and each call needs a certain scope; "all" permits every call. A key's name may be shown, the key
itself never.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from starlette.requests import Request

from services.chassis.process.api_keys import ALL, ApiKey, HttpApiSettings

_EXPECTED: Final = "expected the API key as header X-API-Key (http_api.key in the configuration)"
_UNKNOWN: Final = (
    "the API key that was sent is not in the configuration (http_api.key and http_api.keys); expected one of these "
    "keys as header X-API-Key"
)
_NOT_CONFIGURED: Final = "no API key is configured (http_api.key), so every call is refused"


class Refusal(NamedTuple):
    """The HTTP status of a request that may not do what it asks for, and why."""

    status: int
    why: str


class ApiKeys:
    """The API keys that are valid now."""

    def __init__(self, section: HttpApiSettings) -> None:
        self._keys = section.all_keys

    def replace(self, section: HttpApiSettings) -> None:
        """These are the keys from now on."""
        self._keys = section.all_keys

    def of(self, request: Request) -> ApiKey | Refusal:
        """The key that a request carries, or 401. Takes the same time for every key, valid or not."""
        given = request.headers.get("x-api-key") or request.query_params.get("api_key") or ""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if not given and scheme.lower() == "apikey":
            given = value.strip()
        text = given.encode()
        found = [key for key in self._keys if hmac.compare_digest(text, key.key.encode())]
        if found:
            return found[0]
        if not self._keys:
            return Refusal(401, _NOT_CONFIGURED)
        return Refusal(401, _UNKNOWN if text else _EXPECTED)


def reaches(key: ApiKey, scope: str, what: str) -> Refusal | None:
    """403 if the key's scope does not permit `what`, which needs the scope `scope`; otherwise None."""
    if key.scope in (ALL, scope):
        return None
    needed = f'"{ALL}"' if scope == ALL else f'"{scope}" or "{ALL}"'
    return Refusal(403, f'{what} needs an API key of the scope {needed}; that of "{key.name}" is "{key.scope}"')
