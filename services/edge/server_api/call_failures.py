"""Logs calls of the server API that failed, at a bounded rate for each method: operators learn why, as callers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from proto import codes
from proto.json_decoder import JsonDecoder
from services.chassis.process.log_fields import about
from services.edge.rejection import Rejected
from services.edge.server_api.answers import METHODS

_ALWAYS: Final = frozenset({codes.INTERNAL.code, codes.LIMIT_EXCEEDED.code})
"""Errors that the caller did not cause: the cluster could not do it, or its room is used up."""

_MAX_NAMED_BYTES: Final = 64 * 1024
"""The largest call that is decoded once more to find its channel and user."""


class Write(Protocol):
    """Logs what failed, why, and the fields of the record, at a bounded rate for each kind."""

    def __call__(self, what: str, why: str, fields: Mapping[str, object], *, kind: str) -> None: ...


class Origin(NamedTuple):
    """Where a call comes from: over "http" or "nats", from which address, and with which key.

    `address`, and `key`, which is the key's name, are "" if they are not known. `answered`: whether the caller waits
    for an answer.
    """

    transport: str
    address: str = ""
    key: str = ""
    answered: bool = True


class _Named(Struct):
    """What a call is about, whatever its method."""

    channel: Any = ""
    user: Any = ""
    client: Any = ""


_decode_named = JsonDecoder[_Named](_Named).decode


class CallFailures:
    """Logs failures by `write`. Without `all`, only those that the caller did not cause, or does not learn about."""

    def __init__(self, write: Write, all: bool = True) -> None:
        self._write = write
        self._all = all

    def failed(self, method: str, rejection: Rejected, origin: Origin, body: bytes = b"", channel: str = "") -> None:
        """A call was answered with an error. `body` is the call; `channel` is one of a broadcast."""
        if self._all or rejection.error.code in _ALWAYS or not origin.answered:
            fields = about(channel=channel) if channel else _named(body)
            self._log(method, rejection.for_log, rejection.error.code, origin, fields)

    def refused(self, method: str, status: int, why: str, origin: Origin) -> None:
        """A request was refused with this HTTP status before it was read."""
        if self._all:
            self._log(method, why, status, origin, {})

    def _log(self, method: str, why: str, code: int, origin: Origin, fields: dict[str, object]) -> None:
        _, address, key, _ = origin
        fields = about(method=method, code=code, address=address, key=key, transport=origin.transport) | fields
        kind = f"a call of the method {method}" if method in METHODS else "a call"
        self._write("a call of the server API failed", why, fields, kind=kind)


def _named(body: bytes) -> dict[str, object]:
    if len(body) > _MAX_NAMED_BYTES:
        return {}
    try:
        named = _decode_named(body or b"{}")
    except msgspec.DecodeError:
        return {}
    given = {"channel": named.channel, "user": named.user, "client": named.client}
    return {name: value for name, value in given.items() if value and isinstance(value, str)}
