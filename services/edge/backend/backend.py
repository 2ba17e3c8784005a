"""What an edge asks a backend, and how that may fail. Implementations: `backend_nats`, `backend_http`, `no_backend`.

A backend is the application's own code. It answers the RPCs of clients and, by hooks (see `hook_results`), decides who
may connect, subscribe and publish. `tests/contract/backend.py` holds every implementation to what is written here.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

from msgspec import Raw, Struct

from proto import codes
from proto.codec import is_too_deep, payload
from proto.codes import CloseCode, ErrorCode
from proto.messages import NO_DATA
from proto.nesting import TooDeep
from proto.replies import RPCResult
from services.chassis.tracing.span import Span
from services.edge.arrival import NO_HEADERS, UNKNOWN, Arrival

MAX_ANSWER_BYTES: Final = 1024 * 1024 - 1024
"""An answer goes to the client in one frame. Some SDKs take frames of at most 1 MiB; the envelope needs the rest."""

MAX_IN_FLIGHT: Final = 10_000
"""Questions that may wait at once on one edge. More of them would not help a backend that is so far behind."""

MAX_METHOD_LENGTH: Final = 255
"""In characters. A character takes up to 12 bytes of a NATS subject, and NATS limits the line to 4,096 bytes."""

MAX_MESSAGE_LENGTH: Final = 256
"""Characters of an error's message that clients get; the rest is cut off."""

FIRST_ERROR_CODE: Final = 100  # SDKs use smaller codes themselves
LAST_ERROR_CODE: Final = 1999  # for SDKs, larger codes end a subscription or a connection


HOOK_EVENTS: Final = ("connect", "subscribe", "publish", "refresh", "sub_refresh")
"""What a backend may be asked to decide: see `Backend.ask`."""

FailureCause = Literal["no_responders", "timeout", "away", "tls", "busy", "open", "error", "status", "bad_answer"]
"""How a question may fail, as metrics count it. Causes of `BackendAway`: "no_responders" (there is no backend for it at
all), "timeout" (no answer in time), "away" (the backend cannot be reached, or a proxy before it says so), "tls" (it
cannot prove its identity), "busy" (too many questions wait already), "open" (its circuit breaker is open). "error" is a
`BackendError`, "status" a `BadAnswer` because of its status, "bad_answer" any other one."""


class BackendAway(Exception):
    """No answer; a later question may get one."""

    def __init__(self, text: str, cause: FailureCause = "away") -> None:
        super().__init__(text)
        self.cause: FailureCause = cause

    @property
    def no_responders(self) -> bool:
        """Whether there is no backend for the question at all."""
        return self.cause == "no_responders"


class BackendError(Exception):
    """The backend's own error, which the client gets as it is."""

    def __init__(self, code: int, message: str, temporary: bool = False) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.temporary = temporary

    @property
    def error(self) -> ErrorCode:
        """The error for the reply."""
        return ErrorCode(self.code, self.message, self.temporary)


class BadAnswer(Exception):
    """The backend's answer is unusable. The text says why, for the log; the client gets `error`."""

    def __init__(self, text: str, error: ErrorCode = codes.INTERNAL, cause: FailureCause = "bad_answer") -> None:
        super().__init__(text)
        self.error = error
        self.cause: FailureCause = cause


class BackendDisconnect(Exception):
    """The backend's answer to an RPC ends the client's connection."""

    def __init__(self, close: CloseCode) -> None:
        super().__init__(f"{close.code} {close.reason}")
        self.close = close


class DeepAnswer(BadAnswer):
    """A payload in the backend's answer nests too deep; the client gets error 107."""

    def __init__(self, error: TooDeep) -> None:
        super().__init__(f"the answer: {error}", codes.BAD_REQUEST)


class Caller(Struct, frozen=True):
    """The client for which the edge asks. `conn_info`, `meta`: JSON or empty. `encoding`: "json" or "protobuf".

    `arrival` is the request with which it came, `emulated` the headers of its connect command, by their names in lower
    case. Of both, a backend gets only the headers that its allow-lists name.
    """

    user: str = ""
    client: str = ""
    conn_info: Raw = NO_DATA
    meta: Raw = NO_DATA
    transport: str = "websocket"
    encoding: str = "json"
    arrival: Arrival = UNKNOWN
    emulated: dict[str, str] = NO_HEADERS


class Backend(Protocol):
    """Takes questions to backends. Each question may go to another instance, so backends keep no connection state."""

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        """The answer to a client's RPC. `data` and the answer are any bytes, passed on as they are.

        Raises `BackendError`, `BackendAway` (also after `timeout_s` seconds), `BadAnswer`; a backend with a table in
        the settings also `BackendDisconnect`.
        """

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        """The answer to a hook's question. `event` is one of `HOOK_EVENTS`.

        Raises `BackendError`, `BackendAway`, `BadAnswer`. Errors may be in the answer instead (`hook_answers`).
        """

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        """Sends a client's message that needs no answer, at most once. Never blocks, never raises.

        `cause` is the span of the client's command: the message carries a child of it.
        """


def checked_method(method: str) -> str:
    """Returns `method` if it can be the name of a backend's method. Raises `BackendError` (104, method not found).

    The empty name is allowed. In other names, no part between dots may be empty.
    """
    good = len(method) <= MAX_METHOD_LENGTH and (not method or all(method.split(".")))
    if good and not any("\ud800" <= character <= "\udfff" for character in method):
        return method
    raise BackendError(*codes.METHOD_NOT_FOUND)


def checked_error(code: int, message: str, temporary: bool) -> ErrorCode:
    """The client's error, from a backend's error. Raises `BadAnswer` for a code that means something else to SDKs."""
    if not FIRST_ERROR_CODE <= code <= LAST_ERROR_CODE:
        raise BadAnswer(f"the answer's error has code {code}, expected {FIRST_ERROR_CODE} to {LAST_ERROR_CODE}")
    return ErrorCode(code, message[:MAX_MESSAGE_LENGTH] or "error", temporary)


def checked_size(answer: bytes) -> bytes:
    """Returns `answer` if it is short enough for a client. Raises `BadAnswer`."""
    if len(answer) > MAX_ANSWER_BYTES:
        raise BadAnswer(f"the answer has {len(answer)} bytes, at most {MAX_ANSWER_BYTES} are passed on")
    return answer


def rpc_result(answer: bytes, encoding: str) -> RPCResult:
    """The answer to an RPC for a connection of this encoding. Raises `BadAnswer`."""
    if is_too_deep(answer):
        raise DeepAnswer(TooDeep())
    if not answer or encoding != "json":
        return RPCResult(Raw(answer) if answer else NO_DATA)
    try:
        return RPCResult(payload(answer))
    except ValueError as error:
        raise BadAnswer(f"the answer is for a JSON connection, and {error}") from None
