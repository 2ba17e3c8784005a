"""The backend behind NATS: any NATS client in any language that subscribes to `rpc.<method>` or `hook.<event>`.

docs/hooks.md describes subjects, headers, percent-encoding and errors; tests/docs compares its examples with this
module. A backend reports an error by the headers of NATS services (`nats.micro`). If a handler fails by accident, such
a service answers with code 500, and in Python with the text of the exception: clients then get error 100, and the log
gets the text.
"""

from __future__ import annotations

import contextlib
import re
import string
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from msgspec import Raw

from proto import codes, subjects
from proto.trace_context import with_context
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers, header
from services.chassis.tracing.span import ACTIVE, PRODUCER, Attributes, Span
from services.chassis.tracing.span import CLIENT as CLIENT_SPAN
from services.edge.arrival import NO_HEADERS
from services.edge.backend.backend import (
    MAX_IN_FLIGHT,
    BackendAway,
    BackendError,
    BadAnswer,
    Caller,
    FailureCause,
    checked_error,
    checked_method,
    checked_size,
)

USER: Final = "Fairlead-User"
CLIENT: Final = "Fairlead-Client"
TRANSPORT: Final = "Fairlead-Transport"
ENCODING: Final = "Fairlead-Encoding"
INFO: Final = "Fairlead-Info"
META: Final = "Fairlead-Meta"
ERROR_CODE: Final = b"Nats-Service-Error-Code"
ERROR_MESSAGE: Final = b"Nats-Service-Error"
ERROR_TEMPORARY: Final = b"Fairlead-Error-Temporary"

FAILED: Final = 500
"""The code with which service frameworks answer after a handler has failed."""

_PRINTABLE: Final = string.punctuation.replace("%", "")
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_CODE: Final = re.compile(rb"\d{1,9}")  # not more digits: int() would be slow


class NatsBackend:
    """See `backend.Backend`. `max_in_flight` bounds the questions that wait for an answer."""

    def __init__(self, link: NatsLink, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._link = link
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        subject = subjects.rpc(checked_method(method))
        return await self.request("rpc", subject, data, headers_of(caller), timeout_s)

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        headers = headers_of(caller) if caller else None
        return await self.request(f"hook {event}", subjects.hook(event), question, headers, timeout_s)

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        headers = headers_of(caller)
        if cause is None:
            with contextlib.suppress(NatsAway, NatsRefused):
                self._link.publish(subjects.sent_by(caller.user), data, headers)
            return
        # The subject is left out, as it contains the user.
        attributes: Attributes = {"messaging.system": "nats", "messaging.message.body.size": len(data)}
        with contextlib.suppress(NatsAway, NatsRefused), cause.child("send", PRODUCER, attributes) as span:
            self._link.publish(subjects.sent_by(caller.user), data, with_context(headers, span.context))

    async def request(self, name: str, subject: str, data: bytes, headers: bytes | None, timeout_s: float) -> bytes:
        """Asks, in a span of this name if anything is traced; the backend gets the span in the header `traceparent`.

        Raises as `call` does.
        """
        cause = ACTIVE.get()
        if cause is None:
            return await self._ask(subject, data, headers, timeout_s)
        attributes: Attributes = {"messaging.system": "nats", "messaging.destination.name": subject}
        with cause.child(name, CLIENT_SPAN, attributes) as span:
            return await self._ask(subject, data, with_context(headers, span.context), timeout_s)

    async def _ask(self, subject: str, data: bytes, headers: bytes | None, timeout_s: float) -> bytes:
        if self._in_flight >= self._max_in_flight:
            raise BackendAway(f"{self._in_flight} questions already wait for an answer", "busy")
        self._in_flight += 1
        try:
            reply_headers, answer = await self._link.request(subject, data, headers, timeout_s)
        except NobodyAnswers:
            raise BackendAway(f"no backend answers on {subject}", "no_responders") from None
        except NatsAway as error:
            cause: FailureCause = error.cause if error.cause in ("timeout", "busy") else "away"
            raise BackendAway(str(error), cause) from None
        except NatsRefused:  # the question has more bytes than NATS takes
            raise BackendError(*codes.LIMIT_EXCEEDED) from None
        finally:
            self._in_flight -= 1
        _raise_error(reply_headers)
        return checked_size(answer)


def headers_of(caller: Caller, more: Mapping[str, str] = NO_HEADERS) -> bytes:
    """The header block that says for whom the edge asks, with the headers `more`."""
    lines = [
        "NATS/1.0",
        f"{USER}: {quote(caller.user, safe=_PRINTABLE)}",
        f"{CLIENT}: {quote(caller.client, safe=_PRINTABLE)}",
        f"{TRANSPORT}: {caller.transport}",
        f"{ENCODING}: {caller.encoding}",
    ]
    if info := _ascii(caller.conn_info):
        lines.append(f"{INFO}: {info}")
    if meta := _ascii(caller.meta):
        lines.append(f"{META}: {meta}")
    lines += [f"{name}: {value}" for name, value in more.items()]
    return "\r\n".join((*lines, "", "")).encode()


def _ascii(value: Raw) -> str:
    """The same JSON in one line of printable ASCII. Other characters occur in strings, or as space between tokens."""
    return _NOT_PRINTABLE.sub(_escape, bytes(value).decode())


def _escape(match: re.Match[str]) -> str:
    if match[0] < " ":
        return " "
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _raise_error(headers: bytes | None) -> None:
    """Raises `BackendError` if the headers of a reply report one, or `BadAnswer`."""
    code, message = header(headers, ERROR_CODE), header(headers, ERROR_MESSAGE)
    if code is None and message is None:
        return
    if code is None or not _CODE.fullmatch(code):
        raise BadAnswer(f"its error has code {code!r:.40}, expected a number")
    text = (message or b"").decode(errors="replace")
    if int(code) == FAILED:
        raise BadAnswer(f"it failed: {text:.200}")
    temporary = header(headers, ERROR_TEMPORARY) == b"true"
    raise BackendError(*checked_error(int(code), text, temporary))
