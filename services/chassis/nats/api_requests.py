"""Sends nats-py's calls that manage streams as requests of a link, like all our own calls to JetStream.

nats-py's own requests notice neither a disconnect nor a missing permission: each waits for its timeout.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from nats.aio.client import Client
from nats.errors import NoRespondersError, TimeoutError
from nats.js import JetStreamManager

from services.chassis.nats.errors import NatsAway, NobodyAnswers
from services.chassis.nats.inbox import Reply

Ask = Callable[[str, bytes, bytes | None, float], Awaitable[Reply]]
"""Takes subject, data, headers and a timeout in seconds; sends the request and returns its reply. Raises `NatsAway`."""


def stream_manager(ask: Ask, timeout_s: float) -> JetStreamManager:
    """nats-py's calls. They raise nats-py's errors, including those for no responder and no answer in time. They raise
    `NatsAway` at once if no answer can come: without a connection, or if NATS does not permit the request."""
    return JetStreamManager(cast("Client", _Requests(ask)), timeout=timeout_s)


class _Answer(NamedTuple):
    data: bytes


class _Requests:
    """The part of a connection that the calls use."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 5.0) -> _Answer:
        try:
            _, data = await self._ask(subject, payload, None, timeout)
        except NobodyAnswers:
            raise NoRespondersError from None
        except NatsAway as error:
            if error.cause == "timeout":
                raise TimeoutError from None
            raise
        return _Answer(data)
