"""A backend behind HTTP: any web application that answers POST with JSON, by the protocol of Centrifugo's proxies.

docs/hooks.md describes requests and answers. Only the operator sets the address: redirects are not followed, and proxy
settings of the environment are ignored. A question costs a tenth with aiohttp of what it costs with httpx (decision
35). aiohttp takes 0.1 s to load, so this module is imported only if there is such a backend.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

import aiohttp
from msgspec import json

from proto.trace_context import TRACEPARENT, TRACESTATE, encode_parent
from services.chassis.nats.tls import tls_context
from services.chassis.process.heartbeat import VERSION
from services.chassis.tracing.span import ACTIVE, Attributes, Span
from services.chassis.tracing.span import CLIENT as CLIENT_SPAN
from services.edge.backend import hook_answers, hook_questions
from services.edge.backend.backend import (
    MAX_ANSWER_BYTES,
    MAX_IN_FLIGHT,
    BackendAway,
    BadAnswer,
    Caller,
    FailureCause,
    checked_method,
    checked_size,
)
from services.edge.backend.breaker import Breaker
from services.edge.backend.question_headers import QuestionHeaders, form_of
from services.edge.backend_settings import EVENT, BackendSettings, StatusToCode

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = MAX_ANSWER_BYTES * 4 // 3 + 1024
"""The largest answer for a client may be in base64."""

KEEP_ALIVE_S: Final = 1.5
"""How long a connection is kept for the next question. Servers keep it longer (gunicorn 2 s, uvicorn and Node 5 s), so
a question seldom meets a connection that is being closed."""

_NAMES_KEPT_S: Final = 10
"""How long an address that was looked up is used, so that a backend may move."""

_UNAVAILABLE: Final = (502, 503, 504)
"""With these a proxy or the application itself says that the backend is away. 500 does not say so: it is the mistake of
one handler, which a client may provoke, and it must not make the backend unavailable to all others."""

OF_HTTP: Final = {
    "User-Agent": f"Fairlead/{VERSION}",
    "Accept-Encoding": "identity",  # the limit of bytes is for what is transferred
    "Content-Type": "application/json",
}

_REPEATABLE: Final = ("connect", "subscribe", "refresh", "sub_refresh")
"""Questions without side effects: one that met a connection on which nothing came back is asked once more."""

_REASON_LENGTH: Final = 200
"""The most characters of a library's text in a log line."""


class HttpBackend:
    """See `backend.Backend`. `now` is the edge's own clock; `unix` is the wall clock, for signatures."""

    def __init__(self, settings: BackendSettings, now: Callable[[], float], unix: Callable[[], float]) -> None:
        self._name = settings.name
        self._url = settings.url
        self._timeout_s = float(settings.timeout)
        self._now = now
        self._unix = unix
        self._form = form_of(settings)
        self._headers = QuestionHeaders(settings, OF_HTTP)
        self._answers = {each.status_code: _answer_for(each) for each in settings.status_to_code_transforms}
        self._tls = tls_context(settings.ca_file, settings.cert_file, settings.key_file, "")
        self._max_in_flight = settings.max_in_flight
        self._places = asyncio.Semaphore(settings.max_in_flight)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_pause)
        self._pause_s = float(settings.breaker_pause)
        self._waiting = 0
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        question = hook_questions.rpc_question(caller, checked_method(method), data, self._form)
        return checked_size(hook_answers.rpc_answer(await self._traced("rpc", question, caller, timeout_s)))

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        return await self._traced(event, question, caller, timeout_s)

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        """Drops the message: such messages go to NATS (`Backends.send`)."""

    async def close(self) -> None:
        """Closes its connections."""
        if self._session is not None:
            await self._session.close()

    async def _traced(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        """Asks, in a span of its own if anything is traced; the backend gets the span in the header `traceparent`."""
        headers = self._headers.of(caller, question, self._unix())
        cause = ACTIVE.get()
        if cause is None:
            return await self._guarded(event, question, headers, timeout_s)
        name = event if event == "rpc" else f"hook {event}"
        attributes: Attributes = {"http.request.method": "POST", "server.address": self._name}
        with cause.child(name, CLIENT_SPAN, attributes) as span:
            headers[TRACEPARENT] = encode_parent(span.context)
            if span.context.state:
                headers[TRACESTATE] = span.context.state
            return await self._guarded(event, question, headers, timeout_s)

    async def _guarded(self, event: str, question: bytes, headers: dict[str, str], timeout_s: float) -> bytes:
        """Asks within the deadline, unless too many wait already or the breaker is open. Notifies the breaker."""
        if self._waiting >= MAX_IN_FLIGHT:
            raise BackendAway(f"{self._waiting} questions already wait for {self._name}", "busy")
        if not self._breaker.lets_through(self._now()):
            raise BackendAway(f"{self._name} did not answer, so it is not asked for {self._pause_s:g} s", "open")
        within_s = min(timeout_s, self._timeout_s or timeout_s)
        self._waiting += 1
        asked = False
        try:
            async with asyncio.timeout(within_s), self._places:
                asked = True
                answer = await self._ask(event, question, headers)
        except TimeoutError:
            if not asked:  # this says nothing about the backend; the questions before it will
                why = f"at most {self._max_in_flight} questions are in flight (max_in_flight)"
                raise BackendAway(f"{self._name} was not asked within {within_s:g} s: {why}", "busy") from None
            raise self._away(f"{self._name} did not answer within {within_s:g} s", "timeout") from None
        except aiohttp.ClientSSLError as error:
            raise self._away(f"the TLS of {self._name} failed: {_reason(error)}", "tls") from None
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            self._back()
            raise BadAnswer(f"{self._name} sent invalid or incomplete HTTP: {_reason(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(f"{self._name} cannot be reached: {_reason(error)}", "away") from None
        except BadAnswer:
            self._back()
            raise
        finally:
            self._waiting -= 1
        self._back()
        return answer

    async def _ask(self, event: str, question: bytes, headers: dict[str, str]) -> bytes:
        url = self._url.replace(EVENT, event)
        try:
            return await self._post(url, question, headers)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if event not in _REPEATABLE or isinstance(error, aiohttp.ClientConnectorError):
                raise
            return await self._post(url, question, headers)
        except aiohttp.ClientConnectionResetError:  # before any byte of the question was written
            return await self._post(url, question, headers)

    async def _post(self, url: str, question: bytes, headers: dict[str, str]) -> bytes:
        session = self._session or self._open()
        if session.closed:
            raise BackendAway(f"{self._name} is not asked any more: the edge stops, or has a new table for it")
        async with session.post(url, data=question, headers=headers, allow_redirects=False) as response:
            status = response.status
            if (answer := self._answers.get(status)) is not None:
                return answer
            if status in _UNAVAILABLE:
                raise self._away(f"{self._name} answered with status {status}", "away")
            if status != 200:
                more = ", and redirects are not followed" if 300 <= status < 400 else ""
                raise BadAnswer(f"{self._name} answered with status {status}{more}", cause="status")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BadAnswer(f"{self._name} answered with more than {MAX_BODY_BYTES} bytes")
            return bytes(body)

    def _open(self) -> aiohttp.ClientSession:
        """Called at the first question, as it needs the event loop."""
        connector = aiohttp.TCPConnector(
            limit=0,  # `_places` has the limit
            keepalive_timeout=KEEP_ALIVE_S,
            ttl_dns_cache=_NAMES_KEPT_S,
            ssl=self._tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # a backend's cookie belongs to one client, and must not reach others
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `_guarded` has one for the whole question
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    def _away(self, text: str, cause: FailureCause) -> BackendAway:
        if self._breaker.failed(self._now()):
            log.warning("the backend %s is away, and is not asked for %g s: %s", self._name, self._pause_s, text)
        return BackendAway(text, cause)

    def _back(self) -> None:
        if self._breaker.answered():
            log.info("the backend %s answers again", self._name)


def _answer_for(each: StatusToCode) -> bytes:
    """The answer that stands for a status."""
    if each.to_disconnect is not None:
        return json.encode({"disconnect": each.to_disconnect})
    return json.encode({"error": each.to_error})


def _reason(error: Exception) -> str:
    """What went wrong, in one line: not the library's own text, which has the address with a key in its query."""
    text = str(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        verdict = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else cause
        text = f"{error.host}:{error.port}: {verdict}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        text = f"{error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    elif isinstance(error, aiohttp.ClientResponseError):
        text = error.message
    return " ".join(text.split())[:_REASON_LENGTH] or type(error).__name__
