"""A row of the outbox as a call of the server API, and the outcome of the call. Pure."""

from __future__ import annotations

import base64
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw, Struct

from proto import codes

MAX_CALL_BYTES: Final = 768 * 1024
"""Bytes of a call that an edge takes. The data of a row that are larger are not read."""

MAX_REASON: Final = 500
"""Characters of an edge's message that are kept."""

_TEMPORARY: Final = {
    codes.INTERNAL.code: True,
    codes.TOO_MANY_REQUESTS.code: False,
    # The history is full, and the namespace refuses publications then. It has room again when older ones expire.
    codes.LIMIT_EXCEEDED.code: False,
}
"""Errors after which another try may succeed, and whether the row may have been published nevertheless."""


class Row(NamedTuple):
    """A row that waits. `data`, `tags` are JSON; one of `data` and `binary` is set, neither if the row is too large.

    `waited_s`: seconds from its insertion until it was read. `tried_s`: seconds since the first attempt that may have
    published it, None if there was none.
    """

    id: int
    message_id: str
    channel: str
    data: str | None
    binary: bytes | None
    tags: str | None
    waited_s: float
    tried_s: float | None = None


class Published(NamedTuple):
    """The publication is stored, or NATS has it."""


class Refused(NamedTuple):
    """The row cannot be published: trying again unchanged will not succeed. `code` is one of `proto.codes`."""

    code: int
    reason: str


class NotNow(NamedTuple):
    """The row is not known to be published. Trying again may succeed, and does no harm: an edge publishes a key once.

    `sent`: it may have been published nevertheless.
    """

    reason: str
    sent: bool = True


Outcome: TypeAlias = Published | Refused | NotNow

TOO_LARGE: Final = Refused(
    codes.LIMIT_EXCEEDED.code,
    f"larger than a call may be: expected at most {MAX_CALL_BYTES} bytes, and what NATS takes",
)


class _Problem(Struct):
    code: int
    message: str


class _Answer(Struct):
    result: Raw = Raw(b"")
    error: _Problem | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Answer).decode


def call_of(row: Row, key_age_s: float | None = None) -> bytes | None:
    """The body of the call of `publish`; None if it is too large. `key_age_s`: seconds since the first attempt that may
    have published the row, None if there was none."""
    if row.data is None and row.binary is None:
        return None
    call: dict[str, Any] = {"channel": row.channel, "idempotency_key": f"outbox:{row.message_id}"}
    if row.binary is not None:
        call["b64data"] = base64.b64encode(row.binary).decode()
    else:
        call["data"] = Raw((row.data or "").encode())
    if row.tags is not None:
        call["tags"] = Raw(row.tags.encode())
    if key_age_s is not None:
        call["key_age"] = round(max(0.001, key_age_s), 3)
    body = _encode(call)
    return body if len(body) <= MAX_CALL_BYTES else None


def outcome_of(answer: bytes) -> Outcome:
    """The outcome that an edge's answer to this call means."""
    try:
        found = _decode(answer)
    except (msgspec.DecodeError, RecursionError):
        return NotNow("an edge's answer cannot be read")
    if found.error is not None:
        # PostgreSQL stores no NUL.
        text = f"{found.error.message[:MAX_REASON]} ({found.error.code})".replace("\0", "\ufffd")
        sent = _TEMPORARY.get(found.error.code)
        return Refused(found.error.code, text) if sent is None else NotNow(text, sent)
    return Published() if bytes(found.result) else NotNow("an edge's answer has neither a result nor an error")
