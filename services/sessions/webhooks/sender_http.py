"""Sends one request to a webhook's address, signed, within bounds of time and size, and says what came of it.

Imported late, as httpx takes half a second to load. The address is the operator's; redirects are not followed, and no
proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final

import httpx

from proto.signature import HEADER, sign
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.verdict import Verdict, failed, of_status

_READ_BYTES: Final = 4096
"""Of an answer's body, which says nothing: a shorter one is read so that the connection can be used again."""

USER_AGENT: Final = "Fairlead-Webhook/1"


class WebhookSender:
    """Sends to one webhook. `now` is the wall clock, in Unix seconds."""

    def __init__(self, settings: WebhookSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        verify = ssl.create_default_context(cafile=settings.ca_file or None)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        # httpx's timeouts are for each step; ours is for the whole.
        self._client = httpx.AsyncClient(
            verify=verify, timeout=None, limits=limits, follow_redirects=False, trust_env=False
        )

    async def send(self, body: bytes) -> Verdict:
        """POSTs `body` once. Every failure is a verdict, never an exception."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            HEADER: sign(self._settings.secret, int(self._now()), body),
        }
        try:
            async with (
                asyncio.timeout(self._settings.timeout),
                self._client.stream("POST", self._settings.url, content=body, headers=headers) as response,
            ):
                verdict = of_status(response.status_code)
                read = 0
                async for chunk in response.aiter_raw():
                    read += len(chunk)
                    if read > _READ_BYTES:
                        break  # the connection is closed
                return verdict
        except TimeoutError:
            return failed("timeout", f"no answer within {self._settings.timeout:g} s")
        except httpx.HTTPError as error:
            cause = "tls" if _is_tls(error) else "unreachable"
            return failed(cause, f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Ends its connections."""
        await self._client.aclose()


def _is_tls(error: BaseException) -> bool:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError):
            return True
        found = found.__cause__ or found.__context__
    return False
