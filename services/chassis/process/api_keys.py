"""The section `http_api`: the API keys, for the server API of edges and the read API of the sessions service."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import Section
from services.chassis.process.settings_errors import FORM

ALL: Final = "all"
PUBLISH: Final = "publish"
READ: Final = "read"
PRIVACY: Final = "privacy"
SCOPES: Final = (ALL, PUBLISH, READ, PRIVACY)

_NAME: Final = 'up to 64 letters, digits, "-", "_" and "."'

MAX_KEYS: Final = 32
"""Each request's key is compared with all of them."""

_SENDABLE: Final = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)
_SENDABLE_FORM: Final = "in printable ASCII, without a space or a line break at either end: a header carries no other"


class ApiKey(Section, frozen=True, kw_only=True):
    """One of several API keys."""

    name: Annotated[str, Meta(pattern=r"^[-a-zA-Z0-9_.]{1,64}\Z", extra={FORM: _NAME})]
    """Whose key it is, as the log and answers name it: up to 64 letters, digits, "-", "_" and "."."""
    key: Secret
    """The key that is sent as `X-API-Key`."""
    scope: str = ALL
    """What it may do: "publish" (publish and broadcast), "read" (presence, history, channels, info, sessions),
    "privacy" (export and erase users), or "all"."""

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError('expected scope "all", "publish", "read" or "privacy"')
        if not self.key:
            raise ValueError("expected key not to be empty")
        if not _SENDABLE.fullmatch(self.key):
            raise ValueError(f"expected key {_SENDABLE_FORM}")


class HttpApiSettings(Section, frozen=True):
    """The section `http_api`."""

    key: Secret = ""
    """The key that backends and operators send as `X-API-Key`; it permits every call. Without any key every call is
    answered with 401."""
    keys: list[ApiKey] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """Further keys, each with its name and scope, such as the old and the new one while they are rotated."""

    def __post_init__(self) -> None:
        if self.key and not _SENDABLE.fullmatch(self.key):
            raise ValueError(f"expected http_api.key {_SENDABLE_FORM}")
        if len(self.keys) > MAX_KEYS:
            raise ValueError(f"expected at most {MAX_KEYS} http_api.keys")
        names = [each.name for each in self.keys]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f'expected each name of http_api.keys once, "{twice}" appears twice')
        keys = [each.key for each in self.all_keys]
        for each in self.all_keys:
            if keys.count(each.key) > 1:
                raise ValueError(f'expected each API key once, that of "{each.name}" appears twice')

    @property
    def all_keys(self) -> tuple[ApiKey, ...]:
        """Every key; the key in `key` is named after its setting."""
        own = (ApiKey(name="http_api.key", key=self.key),) if self.key else ()
        return (*own, *self.keys)
