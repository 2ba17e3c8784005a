"""Decodes the answers of backends to hooks, and, of backends with a table in the settings, to RPCs. Pure.

docs/hooks.md describes every answer, in Centrifugo's shapes; tests/docs compares its examples with this module. null is
the same as a field that is left out; unknown fields are ignored. `{}` is not a yes: from the connect hook it means "not
known here", from the others it is a bad answer.
"""

from __future__ import annotations

import base64
from math import ceil
from typing import Annotated, Final, Generic, TypeVar

from msgspec import DecodeError, Meta, Raw, Struct
from msgspec.structs import replace

from proto.codec import is_too_deep
from proto.codes import CloseCode, check_close_reason
from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA
from proto.nesting import TooDeep
from proto.publications import MAX_EPOCH_LENGTH, Version, is_version_epoch
from services.edge.backend.backend import BackendDisconnect, BackendError, BadAnswer, DeepAnswer, checked_error
from services.edge.backend.hook_results import (
    Accepted,
    Admitted,
    ConnectHookResult,
    Disconnected,
    Expired,
    Extended,
    PublishHookResult,
    RefreshHookResult,
    Refused,
    SubscribeHookResult,
    Unauthenticated,
)
from services.edge.grants import Grant, Override, Terms, grant_from, json_field

MAX_KEY_LENGTH: Final = 256
"""Characters of an idempotency key."""

MAX_CHANNELS: Final = 1000
"""Server-side subscriptions in one answer: each is set up before the client gets its reply."""

_FIRST_CLOSE_CODE: Final = 3001  # 3000 is never sent: it stands for a peer that went away
_LAST_CLOSE_CODE: Final = 4999
_NO_REASON: Final = "disconnected"  # if the backend gives no reason
_END_OF_TIME: Final = 2**53  # beyond it JSON's numbers are not exact

_ENVELOPE: Final = {"result", "error", "disconnect"}

T = TypeVar("T")


_Code = Annotated[int, Meta(ge=0, le=9999)]
_Limit = Annotated[int, Meta(ge=0, le=1_000_000)]
_Version = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Error(Struct, frozen=True):
    code: _Code
    message: str | None = ""
    temporary: bool | None = False


class _Disconnect(Struct, frozen=True):
    code: _Code
    reason: str | None = ""


class _Answer(Struct, Generic[T], frozen=True):
    result: T | None = None
    error: _Error | None = None
    disconnect: _Disconnect | None = None


class _SubscribeResult(Struct, frozen=True):
    info: Raw = NO_DATA
    b64info: str | None = None
    data: Raw = NO_DATA
    b64data: str | None = None
    expire_at: int | float | None = None
    override: Override | None = None
    cache_recover: bool | None = False
    server_tags_filter: Raw = NO_DATA  # not offered: an answer that has it is refused


class _ConnectResult(Struct, frozen=True):
    user: str | None = None
    expire_at: int | float | None = None
    info: Raw = NO_DATA
    b64info: str | None = None
    data: Raw = NO_DATA
    b64data: str | None = None
    meta: Raw = NO_DATA
    channels: list[str] | None = None
    subs: dict[str, _SubscribeResult] | None = None
    connection_limit: _Limit | None = None


class _PublishResult(Struct, frozen=True):
    data: Raw = NO_DATA
    b64data: str | None = None
    skip_history: bool | None = False
    tags: dict[str, str] | None = None
    idempotency_key: str | None = None
    version: _Version | None = None
    version_epoch: str | None = None


class _RPCResult(Struct, frozen=True):
    data: Raw = NO_DATA
    b64data: str | None = None


class _RefreshResult(Struct, frozen=True):
    expired: bool | None = False
    expire_at: int | float | None = None
    info: Raw = NO_DATA
    b64info: str | None = None
    meta: Raw = NO_DATA


_connect: JsonDecoder[_Answer[_ConnectResult]] = JsonDecoder(_Answer[_ConnectResult])
_subscribe: JsonDecoder[_Answer[_SubscribeResult]] = JsonDecoder(_Answer[_SubscribeResult])
_publish: JsonDecoder[_Answer[_PublishResult]] = JsonDecoder(_Answer[_PublishResult])
_refresh: JsonDecoder[_Answer[_RefreshResult]] = JsonDecoder(_Answer[_RefreshResult])
_rpc: JsonDecoder[_Answer[_RPCResult]] = JsonDecoder(_Answer[_RPCResult])
_fields: JsonDecoder[dict[str, Raw]] = JsonDecoder(dict[str, Raw])


def connect_answer(data: bytes, encoding: str = "json") -> ConnectHookResult:
    """The result in a backend's answer about a client with this encoding. Raises `BadAnswer`."""
    answer = _read(_connect, data)
    if (no := _refusal(answer.error, answer.disconnect)) is not None:
        return no
    result = answer.result
    if result is None:
        return Unauthenticated()
    subs = {channel: Grant() for channel in result.channels or ()}
    subs.update((channel, _grant(terms, encoding)) for channel, terms in (result.subs or {}).items())
    if len(subs) > MAX_CHANNELS:
        raise BadAnswer(f"the answer has {len(subs)} channels, expected at most {MAX_CHANNELS}")
    if "" in subs:
        raise BadAnswer("the answer has a channel without a name")
    return Admitted(
        user=result.user or "",
        expires_at=_time(result.expire_at),
        info=_json("info", result.info, result.b64info),
        data=_own_data(result.data, result.b64data, encoding),
        meta=_json("meta", result.meta),
        subs=subs,
        connection_limit=result.connection_limit or 0,
    )


def subscribe_answer(data: bytes, encoding: str = "json") -> SubscribeHookResult:
    """The result in a backend's answer about a client with this encoding. Raises `BadAnswer`."""
    answer = _read(_subscribe, data)
    return _refusal(answer.error, answer.disconnect) or _grant(_decided(answer), encoding)


def publish_answer(data: bytes) -> PublishHookResult:
    """The result in a backend's answer. Raises `BadAnswer`."""
    answer = _read(_publish, data)
    if (no := _refusal(answer.error, answer.disconnect)) is not None:
        return no
    result = _decided(answer)
    changed = _bytes(result.data, result.b64data) or None
    key = result.idempotency_key or ""
    if len(key) > MAX_KEY_LENGTH:
        raise BadAnswer(f"the answer's idempotency_key has more than {MAX_KEY_LENGTH} characters")
    version = _version(result)
    if version is not None and result.skip_history:
        raise BadAnswer("the answer has version and skip_history: a version is compared with the history")
    return Accepted(changed, bool(result.skip_history), result.tags or {}, key, version)


def refresh_answer(data: bytes) -> RefreshHookResult:
    """The result in a backend's answer. Raises `BadAnswer`."""
    answer = _read(_refresh, data)
    if (no := _refusal(answer.error, answer.disconnect)) is not None:
        return no
    result = _decided(answer)
    if result.expired:
        return Expired()
    return Extended(_time(result.expire_at), _json("info", result.info, result.b64info), _json("meta", result.meta))


def rpc_answer(data: bytes) -> bytes:
    """The data for the client in an answer to its RPC. Raises `BackendError`, `BackendDisconnect`, `BadAnswer`.

    `{}` is an answer without data, as with Centrifugo: it allows nothing. An answer with only other fields is a
    mistake, such as an answer for the backend `nats`, which needs no envelope: the client would get null, and nobody
    would know why.
    """
    answer = _read(_rpc, data)
    no = _refusal(answer.error, answer.disconnect)
    if isinstance(no, Refused):
        raise BackendError(*no.error)
    if no is not None:
        raise BackendDisconnect(no.close)
    if answer.result is None and (fields := _read(_fields, data)) and not fields.keys() & _ENVELOPE:
        raise BadAnswer('the answer has none of result, error and disconnect: expected {"result": {"data": ...}}')
    result = answer.result or _RPCResult()
    return _bytes(result.data, result.b64data)


def _read(decoder: JsonDecoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except DecodeError as error:
        raise BadAnswer(str(error)) from None


def _refusal(error: _Error | None, end: _Disconnect | None) -> Refused | Disconnected | None:
    if end is not None:
        return Disconnected(_close(end))
    if error is not None:
        return Refused(checked_error(error.code, error.message or "", bool(error.temporary)))
    return None


def _decided(answer: _Answer[T]) -> T:
    if answer.result is None:
        raise BadAnswer("the answer has none of result, error and disconnect")
    return answer.result


def _close(end: _Disconnect) -> CloseCode:
    if not _FIRST_CLOSE_CODE <= end.code <= _LAST_CLOSE_CODE:
        raise BadAnswer(
            f"the answer's disconnect has code {end.code}, expected {_FIRST_CLOSE_CODE} to {_LAST_CLOSE_CODE}"
        )
    reason = end.reason or _NO_REASON
    try:
        check_close_reason(reason)
    except ValueError as error:
        raise BadAnswer(f"the answer's disconnect: {error}") from None
    return CloseCode(end.code, reason)


def _grant(result: _SubscribeResult, encoding: str) -> Grant:
    if bytes(result.server_tags_filter) not in (b"", b"null"):  # if it were ignored, the client would see too much
        raise BadAnswer("the answer has a server_tags_filter, which is not offered")
    terms = Terms(result.info, result.b64info or "", override=result.override)
    try:
        grant = grant_from(terms, _time(result.expire_at))
    except TooDeep as error:
        raise DeepAnswer(error) from None
    except ValueError as error:
        raise BadAnswer(f"the answer's {error}") from None
    data = _own_data(result.data, result.b64data, encoding)
    return replace(grant, data=data, cache_recover=bool(result.cache_recover))


def _version(result: _PublishResult) -> Version | None:
    epoch = result.version_epoch or ""
    if not is_version_epoch(epoch):
        raise BadAnswer(f"the answer's version_epoch is not printable, or has more than {MAX_EPOCH_LENGTH} characters")
    return Version(result.version, epoch) if result.version else None


def _time(value: int | float | None) -> int:
    if value is None:
        return 0
    if not 0 <= value < _END_OF_TIME:
        raise BadAnswer("the answer's expire_at is not a time")
    return ceil(value)  # rounded down, a grant of a second could have expired when the answer comes


def _own_data(data: Raw, in_base64: str | None, encoding: str) -> Raw:
    """The data for the client itself: JSON, or any bytes if it uses Protobuf."""
    if encoding == "json" or not in_base64:
        return _json("data", data, in_base64)
    return Raw(_bytes(data, in_base64))


def _bytes(data: Raw, in_base64: str | None) -> bytes:
    """A payload that may be any bytes, b"" if there is none."""
    try:
        other = base64.b64decode(in_base64 or "", validate=True)
    except ValueError:
        raise BadAnswer("the answer's b64data is not base64") from None
    if is_too_deep(other):
        raise DeepAnswer(TooDeep("b64data"))
    return other or bytes(_json("data", data))


def _json(name: str, value: Raw, in_base64: str | None = None) -> Raw:
    try:
        return json_field(name, value, in_base64 or "")
    except TooDeep as error:
        raise DeepAnswer(error) from None
    except ValueError as error:
        raise BadAnswer(f"the answer's {error}") from None
