"""How nats-py's calls to manage streams reach JetStream: by the requests of a link, as all our own calls do.

nats-py's own requests notice neither a disconnect nor that NATS does not permit them: each waits for its timeout.
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
"""Sends subject, data and headers, and waits so many seconds for the reply. Raises `NatsAway`."""


def stream_manager(ask: Ask, timeout_s: float) -> JetStreamManager:
    """nats-py's calls. They raise its errors, also where nobody answers, or not in time; and `NatsAway` at once where
    nobody will: without a connection, or where NATS does not permit the request."""
    return JetStreamManager(cast("Client", _Requests(ask)), timeout=timeout_s)


class _Answer(NamedTuple):
    data: bytes


class _Requests:
    """All that the calls use of a connection."""

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
