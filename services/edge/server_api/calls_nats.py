"""The server API over NATS: a request to the subject of a method, with the same body and answer as over HTTP.

Edges share the requests in a queue group. There is no key: a client of NATS that may publish to these subjects is
trusted, like one that may publish to the subjects of channels. A message without a reply subject is carried out
nevertheless. A message whose reply subject is not an inbox is refused, as the edge may publish where the caller may
not.
"""

from __future__ import annotations

import asyncio
import contextlib

from msgspec import Struct

from proto import codes, subjects
from proto.trace_context import TraceContext, context_of
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.process.tasks import Tasks
from services.edge.connection.refusal_log import shown
from services.edge.rejection import Rejected
from services.edge.server_api.answers import encode_answer
from services.edge.server_api.call_failures import Origin
from services.edge.server_api.methods import MAX_BODY_BYTES, ApiMethods


class NatsApi:
    """Takes calls from NATS. `ApiMethods` bounds how many are in progress at once."""

    def __init__(self, link: NatsLink, methods: ApiMethods) -> None:
        self._link = link
        self._methods = methods
        self._subscription: int | None = None
        self._leaving = False
        self._tasks = Tasks()

    def start(self) -> None:
        """Takes calls from now on."""
        if not self._leaving:
            self._subscription = self._link.subscribe(subjects.API_ALL, self._hear, subjects.API_QUEUE)

    async def leave(self, within_s: float) -> None:
        """Takes no more calls; returns when the calls taken before are answered, or after `within_s` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        self._leaving = True
        if self._subscription is not None:
            number, self._subscription = self._subscription, None
            await self._link.drain(number, within_s)
        await self._tasks.wait(deadline - loop.time())

    async def stop(self) -> None:
        """Cancels calls that are in progress."""
        await self._tasks.stop()

    def _hear(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        method = subjects.api_method(subject.decode(errors="replace"))
        self._tasks.start(self._answer(method, data, reply.decode(errors="replace"), context_of(headers)))

    async def _answer(self, method: str, body: bytes, reply: str, cause: TraceContext | None) -> None:
        answer: Struct | Rejected
        wrong_reply = bool(reply) and not subjects.may_be_answered(reply)
        origin = Origin("nats", answered=bool(reply) and not wrong_reply)
        if wrong_reply:
            self._refuse(method, origin, f"expected an inbox as the reply subject, got {shown(reply)}")
            return
        if len(body) > MAX_BODY_BYTES:
            answer = self._refuse(method, origin, f"expected a body of at most {MAX_BODY_BYTES} bytes")
        else:
            try:
                answer = await self._methods.call(method, body, origin, cause)
            except Rejected as rejection:
                answer = rejection
        if not reply:
            return
        with contextlib.suppress(NatsAway):  # the caller then learns it from NATS, or its request times out
            try:
                self._link.publish(reply, encode_answer(answer))
            except NatsRefused:
                too_large = Rejected(codes.LIMIT_EXCEEDED, "the answer is larger than NATS takes")
                self._link.publish(reply, encode_answer(too_large))

    def _refuse(self, method: str, origin: Origin, why: str) -> Rejected:
        self._methods.counts.refused(method, codes.BAD_REQUEST.code)
        rejection = Rejected(codes.BAD_REQUEST, why)
        self._methods.failures.failed(method, rejection, origin)
        return rejection
