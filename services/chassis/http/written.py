"""A response that is produced while its client reads it: it ends, whatever the client does, and releases what it
holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.chassis.http.unread import dropping_who_does_not_read

log = logging.getLogger(__name__)


class WrittenWhileRead(StreamingResponse):
    """Sends `pieces`, and closes them at the end, even if the client is gone, has read nothing for `unread_s`, or has
    not read everything within `within_s`. Calls `running` with 1 at the beginning and with -1 at the end."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str],
        running: Callable[[int], None],
        within_s: float,
        unread_s: float,
    ) -> None:
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._pieces = pieces
        self._running = running
        self._within_s = within_s
        self._unread_s = unread_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._running(1)
        try:
            async with asyncio.timeout(self._within_s):
                await super().__call__(scope, receive, dropping_who_does_not_read(scope, send, self._unread_s))
        except TimeoutError:
            log.warning("%s: cut after %g s: it is too long, or its client too slow", scope["path"], self._within_s)
        finally:
            self._running(-1)
            await self._pieces.aclose()
