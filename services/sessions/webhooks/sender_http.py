"""Sends one request to a webhook's address, signed, within bounds of time and size, and says what came of it.

Imported late, as httpx takes half a second to load. The address is the operator's; redirects are not followed, and no
proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from proto.signature import HEADER, sign
from services.chassis.nats.tls import tls_context
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.verdict import Verdict, failed, of_status

_READ_BYTES: Final = 4096
"""Of an answer's body, which says nothing: a shorter one is read so that the connection can be used again."""

_KEEP_ALIVE_S: Final = 1.0
"""An idle connection is closed after it, before servers do: many do so after 2 or 5 s, and a request that crosses their
close would fail for nothing."""

USER_AGENT: Final = "Fairlead-Webhook/1"


class WebhookSender:
    """Sends to one webhook. `now` is the wall clock, in Unix seconds. Raises `BadFile` for its `ca_file`."""

    def __init__(self, settings: WebhookSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        verify = tls_context(settings.ca_file, "", "", f"webhook {settings.name}: ")
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEP_ALIVE_S)
        # httpx's timeouts are for each step; ours is for the whole.
        self._client = httpx.AsyncClient(
            verify=verify,
            timeout=None,
            limits=limits,
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # a receiver's cookies are not kept
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
        except Exception as error:  # httpx.HTTPError, and what transports raise besides: it must not end the process
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
