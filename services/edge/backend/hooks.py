"""Encodes what the edge asks a backend on `hook.<event>`, and decodes the answers. Pure.

docs/hooks.md describes every question and answer, in Centrifugo's shapes; tests/docs compares its examples with this
module. A field without a value is left out on both sides; unknown fields are ignored. `{}` is not a yes: from the
connect hook it means "not known here", from the others it is a bad answer.
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Final, Generic, TypeVar

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder, Encoder

from proto.codec import payload
from proto.codes import CloseCode, ErrorCode
from proto.messages import NO_DATA, ConnectRequest
from services.edge.backend.backend import BadAnswer, Caller, checked_error
from services.edge.grants import Grant, Override, json_field

MAX_CHANNELS: Final = 1000
"""Server-side subscriptions in one answer: each is set up before the client gets its reply."""

MAX_REASON_BYTES: Final = 123  # RFC 6455, 5.5: what a close frame holds beside the code
_FIRST_CLOSE_CODE: Final = 3001  # 3000 is never sent: it stands for a peer that went away
_LAST_CLOSE_CODE: Final = 4999
_END_OF_TIME: Final = 2**53  # beyond it JSON's numbers are not exact

T = TypeVar("T")


# --- verdicts -------------------------------------------------------------------------------------------------------


class Refused(Struct, frozen=True):
    """The client gets this error."""

    error: ErrorCode


class Disconnected(Struct, frozen=True):
    """The connection ends."""

    close: CloseCode


class Unauthenticated(Struct, frozen=True):
    """The backend does not know who connects: the client is treated as if there were no hook."""


class Admitted(Struct, frozen=True):
    """The client may connect, as `user`, and is subscribed to the channels of `subs`."""

    user: str = ""
    expires_at: int = 0
    info: Raw = NO_DATA
    data: Raw = NO_DATA
    meta: Raw = NO_DATA
    subs: dict[str, Grant] = {}


class Accepted(Struct, frozen=True):
    """The publication is published; `data` takes the place of its payload if it is not None."""

    data: bytes | None = None
    skip_history: bool = False
    tags: dict[str, str] = {}


class Extended(Struct, frozen=True):
    """The connection goes on until `expires_at`. `info` and `meta` are new, or empty: as they were."""

    expires_at: int = 0
    info: Raw = NO_DATA
    meta: Raw = NO_DATA


class Expired(Struct, frozen=True):
    """The connection's time is over."""


ConnectHookResult = Admitted | Unauthenticated | Refused | Disconnected
SubscribeHookResult = Grant | Refused | Disconnected
PublishHookResult = Accepted | Refused | Disconnected
RefreshHookResult = Extended | Expired | Refused | Disconnected


# --- questions ------------------------------------------------------------------------------------------------------


class _Question(Struct, frozen=True, omit_defaults=True):
    client: str
    transport: str
    protocol: str
    encoding: str
    user: str | UnsetType
    channel: str | UnsetType = UNSET
    data: Raw = NO_DATA
    b64data: bytes = b""
    meta: Raw = NO_DATA
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


_encode = Encoder().encode


def connect_question(caller: Caller, request: ConnectRequest) -> bytes:
    """`caller.user` is the one that a token proved, "" without one."""
    told = {"name": request.name, "version": request.version, "headers": request.headers}
    return _question(caller, caller.user or UNSET, bytes(request.data), **told)


def subscribe_question(caller: Caller, channel: str, data: bytes) -> bytes:
    """`data` is what the subscribe command came with."""
    return _question(caller, caller.user, data, channel=channel)


def publish_question(caller: Caller, channel: str, data: bytes) -> bytes:
    """`data` is what the client wants to publish."""
    return _question(caller, caller.user, data, channel=channel)


def refresh_question(caller: Caller) -> bytes:
    return _question(caller, caller.user)


def _question(caller: Caller, user: str | UnsetType, data: bytes = b"", **more: Any) -> bytes:
    embedded, other = NO_DATA, b""
    if data:
        try:
            embedded = payload(data)
        except ValueError:
            other = data
    return _encode(
        _Question(
            client=caller.client,
            transport=caller.transport,
            protocol=caller.encoding,
            encoding="binary" if other else "json",
            user=user,
            data=embedded,
            b64data=other,
            meta=caller.meta if bytes(caller.meta) else NO_DATA,
            **more,
        )
    )


# --- answers --------------------------------------------------------------------------------------------------------

_Code = Annotated[int, Meta(ge=0, le=9999)]


class _Error(Struct, frozen=True):
    code: _Code
    message: str | None = ""
    temporary: bool | None = False


class _Disconnect(Struct, frozen=True):
    code: _Code
    reason: str


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


class _PublishResult(Struct, frozen=True):
    data: Raw = NO_DATA
    b64data: str | None = None
    skip_history: bool | None = False
    tags: dict[str, str] | None = None


class _RefreshResult(Struct, frozen=True):
    expired: bool | None = False
    expire_at: int | float | None = None
    info: Raw = NO_DATA
    b64info: str | None = None
    meta: Raw = NO_DATA


_connect = Decoder(_Answer[_ConnectResult])
_subscribe = Decoder(_Answer[_SubscribeResult])
_publish = Decoder(_Answer[_PublishResult])
_refresh = Decoder(_Answer[_RefreshResult])


def connect_answer(data: bytes) -> ConnectHookResult:
    """What a backend decided. Raises `BadAnswer`."""
    answer = _read(_connect, data)
    if (no := _refusal(answer.error, answer.disconnect)) is not None:
        return no
    result = answer.result
    if result is None:
        return Unauthenticated()
    subs = {channel: Grant() for channel in result.channels or ()}
    subs.update((channel, _grant(terms)) for channel, terms in (result.subs or {}).items())
    if len(subs) > MAX_CHANNELS:
        raise BadAnswer(f"it has {len(subs)} channels, at most {MAX_CHANNELS} are taken")
    if "" in subs:
        raise BadAnswer("it has a channel without a name")
    return Admitted(
        user=result.user or "",
        expires_at=_time(result.expire_at),
        info=_json("info", result.info, result.b64info),
        data=_json("data", result.data, result.b64data),
        meta=_json("meta", result.meta),
        subs=subs,
    )


def subscribe_answer(data: bytes) -> SubscribeHookResult:
    """What a backend decided. Raises `BadAnswer`."""
    answer = _read(_subscribe, data)
    return _refusal(answer.error, answer.disconnect) or _grant(_decided(answer))


def publish_answer(data: bytes) -> PublishHookResult:
    """What a backend decided. Raises `BadAnswer`."""
    answer = _read(_publish, data)
    if (no := _refusal(answer.error, answer.disconnect)) is not None:
        return no
    result = _decided(answer)
    try:
        other = base64.b64decode(result.b64data or "", validate=True)
    except ValueError:
        raise BadAnswer("its b64data is not base64") from None
    return Accepted(other or bytes(_json("data", result.data)) or None, bool(result.skip_history), result.tags or {})


def refresh_answer(data: bytes) -> RefreshHookResult:
    """What a backend decided. Raises `BadAnswer`."""
    answer = _read(_refresh, data)
    if (no := _refusal(answer.error, answer.disconnect)) is not None:
        return no
    result = _decided(answer)
    if result.expired:
        return Expired()
    return Extended(_time(result.expire_at), _json("info", result.info, result.b64info), _json("meta", result.meta))


def _read(decoder: Decoder[_Answer[T]], data: bytes) -> _Answer[T]:
    try:
        return decoder.decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(str(error)) from None


def _refusal(error: _Error | None, end: _Disconnect | None) -> Refused | Disconnected | None:
    if end is not None:
        return Disconnected(_close(end))
    if error is not None:
        return Refused(checked_error(error.code, error.message or "", bool(error.temporary)))
    return None


def _decided(answer: _Answer[T]) -> T:
    if answer.result is None:
        raise BadAnswer("it has none of result, error and disconnect")
    return answer.result


def _close(end: _Disconnect) -> CloseCode:
    if not _FIRST_CLOSE_CODE <= end.code <= _LAST_CLOSE_CODE:
        raise BadAnswer(f"its disconnect has code {end.code}, expected {_FIRST_CLOSE_CODE} to {_LAST_CLOSE_CODE}")
    if not 1 <= len(end.reason.encode()) <= MAX_REASON_BYTES:
        raise BadAnswer(f"its disconnect has a reason of 0 or more than {MAX_REASON_BYTES} bytes")
    try:
        json.loads(end.reason)  # not ours: JavaScript takes half surrogate pairs too
    except ValueError:
        return CloseCode(end.code, end.reason)
    raise BadAnswer("its disconnect has a reason that is JSON")


def _grant(terms: _SubscribeResult) -> Grant:
    return Grant(
        info=_json("info", terms.info, terms.b64info),
        data=_json("data", terms.data, terms.b64data),
        expires_at=_time(terms.expire_at),
        override=terms.override or Override(),
    )


def _time(value: int | float | None) -> int:
    if value is None:
        return 0
    if not 0 <= value < _END_OF_TIME:
        raise BadAnswer("its expire_at is not a time")
    return int(value)


def _json(name: str, value: Raw, in_base64: str | None = None) -> Raw:
    try:
        return json_field(name, value, in_base64 or "")
    except ValueError as error:
        raise BadAnswer(f"its {error}") from None
