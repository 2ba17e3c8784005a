"""The calls of the server API that an application makes: what is sent, what is returned, and when to try again.

No I/O and no clock: `blocking` and `awaited` carry calls out, over HTTP (`client_http`) or NATS (`client_nats`).
"""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from fairlead.errors import BadAnswer, CallRefused, FairleadError, Unavailable

T = TypeVar("T")

TIMEOUT_S: Final = 5.0
"""How long a call may take, including all attempts: a view waits for it."""
ATTEMPT_S: Final = 2.0
"""How long one attempt of a repeatable call may take: the next attempt may then reach another edge than one that
hangs."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
_TRY_AGAIN: Final = (100, 111)
"""Internal error and too many requests: the temporary errors of the server API."""
_PASSING_STATUSES: Final = (408, 429, 502, 503, 504)
"""From a load balancer in front of the edges, or from a busy edge."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a publication is in its channel's history; 0 and "" in a channel without history."""

    offset: int = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """One connection in a channel. `info` belongs to the connection, `channel_info` to the subscription; both are any
    JSON."""

    client: str
    user: str
    info: Any = None
    channel_info: Any = None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call. `read` converts the answer's result into the call's; a `repeatable` call may be carried out twice
    without harm."""

    method: str
    body: bytes
    read: Callable[[dict[str, Any]], T]
    repeatable: bool


def publish_call(
    channel: str, data: Any, tags: Mapping[str, str] | None, idempotency_key: str, skip_history: bool
) -> Call[Position]:
    """`Calls.publish`."""
    return Call(
        "publish", _publication({"channel": channel}, data, tags, idempotency_key, skip_history), _position, True
    )


def broadcast_call(
    channels: Iterable[str], data: Any, tags: Mapping[str, str] | None, idempotency_key: str, skip_history: bool
) -> Call[list[Position | CallRefused]]:
    """`Calls.broadcast`."""
    fields = {"channels": list(channels)}
    return Call("broadcast", _publication(fields, data, tags, idempotency_key, skip_history), _positions, True)


def presence_call(channel: str) -> Call[list[Member]]:
    """`Calls.presence`."""
    return Call("presence", _json({"channel": channel}), _members, True)


def other_call(method: str, fields: Mapping[str, Any], repeatable: bool) -> Call[dict[str, Any]]:
    """`Calls.call`."""
    return Call(method, _json(dict(fields)), dict, repeatable)


def answer_of(call: Call[T], body: bytes, status: int = 200) -> T:
    """The result in an answer; `status` is the answer's HTTP status. Raises the errors of this package."""
    if status in _PASSING_STATUSES:
        raise Unavailable(f"{call.method}: status {status}")
    try:
        answer = json.loads(body)
    except ValueError:
        raise BadAnswer(f"{call.method}: expected JSON, got {_shown(body)} with status {status}") from None
    if not isinstance(answer, dict):
        raise BadAnswer(f"{call.method}: expected an object, got {_shown(body)}")
    if isinstance(error := answer.get("error"), dict):
        code, message = error.get("code"), str(error.get("message", ""))
        if code in _TRY_AGAIN:
            raise Unavailable(f"{call.method}: {code} {message}")
        raise CallRefused(call.method, code if isinstance(code, int) else status, message)
    if not isinstance(result := answer.get("result"), dict):
        raise BadAnswer(f"{call.method}: expected a result, got {_shown(body)} with status {status}")
    return call.read(result)


class Attempts:
    """When a call is tried again. All times are in seconds of one monotonic clock."""

    def __init__(self, call: Call[Any], timeout_s: float, now: float) -> None:
        self._repeatable = call.repeatable
        self._ends_at = now + timeout_s
        self._pause_s = FIRST_PAUSE_S

    def timeout_s(self, now: float) -> float:
        """How long the attempt that begins now may take."""
        left = max(self._ends_at - now, 0.001)
        return min(left, ATTEMPT_S) if self._repeatable else left

    def pause_s(self, failure: FairleadError, now: float, share: float) -> float:
        """How long to wait until the next attempt; `share` is random, 0 to 1. Raises `failure` if there is none."""
        pause = self._pause_s * (0.5 + share / 2)
        if not self._repeatable or not isinstance(failure, Unavailable) or now + pause >= self._ends_at:
            raise failure
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause


def _publication(
    fields: dict[str, Any], data: Any, tags: Mapping[str, str] | None, idempotency_key: str, skip_history: bool
) -> bytes:
    if data is None:
        raise ValueError("expected data: null is the same as no data")
    fields |= {"b64data": b64encode(data).decode()} if isinstance(data, bytes) else {"data": data}
    fields["idempotency_key"] = idempotency_key or uuid.uuid4().hex
    if tags:
        fields["tags"] = dict(tags)
    if skip_history:
        fields["skip_history"] = True
    return _json(fields)


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _position(result: dict[str, Any]) -> Position:
    return Position(result.get("offset", 0), result.get("epoch", ""))


def _positions(result: dict[str, Any]) -> list[Position | CallRefused]:
    responses = result.get("responses", [])
    if any(response.get("error", {}).get("code") in _TRY_AGAIN for response in responses):
        raise Unavailable("broadcast: at least one channel could not be reached")  # the retry stores no other one twice
    return [
        CallRefused("publish", error["code"], error["message"])
        if (error := response.get("error"))
        else _position(response.get("result", {}))
        for response in responses
    ]


def _members(result: dict[str, Any]) -> list[Member]:
    return [
        Member(client, found.get("user", ""), found.get("conn_info"), found.get("chan_info"))
        for client, found in result.get("presence", {}).items()
    ]


def _shown(body: bytes) -> str:
    return repr(body[:60].decode(errors="replace"))
