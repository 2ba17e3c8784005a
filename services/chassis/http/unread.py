"""Drops clients that stop reading a long response, as nothing else would ever end it.

ASGI's `send` waits while the socket is full, for ever if the client keeps the connection and never reads. A mere close
would wait as well, until the buffered data is sent.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import Message, Scope, Send

from services.chassis.http.sockets import socket_of

log = logging.getLogger(__name__)


def dropping_who_does_not_read(scope: Scope, send: Send, within_s: float) -> Send:
    """Wraps `send` so that the client of the request `scope` is dropped if it does not take a part within `within_s`
    seconds."""

    def drop() -> None:
        log.warning("%s: its client took nothing for %g s and was dropped", scope["path"], within_s)
        socket_of(scope).transport.abort()

    async def patient(message: Message) -> None:
        timer = asyncio.get_running_loop().call_later(within_s, drop)
        try:
            await send(message)
        finally:
            timer.cancel()

    return patient
