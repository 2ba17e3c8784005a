"""Sends one signed request to a webhook's address, within bounds of time and size, and says how it ended.

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
"""Bytes of an answer's body that are read. The body is ignored, and read only so that the connection can be used
again."""

_KEEP_ALIVE_S: Final = 1.0
"""An idle connection is closed after this time, before the server closes it: many servers do so after 2 or 5 s, and a
request that crosses their close would fail for no reason. Also, a receiver with one thread serves nobody else while a
connection is open."""

USER_AGENT: Final = "Fairlead-Webhook/1"


class WebhookSender:
    """Sends to one webhook. `now` is the wall clock, in Unix seconds. Raises `BadFile` for its `ca_file`."""

    def __init__(self, settings: WebhookSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._verify = tls_context(settings.ca_file, "", "", f"webhook {settings.name}: ")
        self._client = _client(self._verify)
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, body: bytes) -> Verdict:
        """POSTs `body` once. Every failure is a verdict, never an exception. One call at a time."""
        self._stop_waiting()
        try:
            return await self._post(body)
        finally:
            self._idle = asyncio.get_running_loop().call_later(_KEEP_ALIVE_S, self._close_idle)

    async def close(self) -> None:
        """Ends its connections."""
        self._stop_waiting()
        await self._client.aclose()
        await asyncio.gather(*self._closing)

    async def _post(self, body: bytes) -> Verdict:
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
        except Exception as error:  # httpx.HTTPError, and errors of transports: none of them may end the process
            cause = "tls" if _is_tls(error) else "unreachable"
            return failed(cause, f"{type(error).__name__}: {error}")

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _close_idle(self) -> None:
        # httpx closes an expired connection only when the next request comes, which may be hours later.
        before, self._client = self._client, _client(self._verify)
        task = asyncio.get_running_loop().create_task(before.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _client(verify: ssl.SSLContext) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEP_ALIVE_S)
    return httpx.AsyncClient(
        verify=verify,
        timeout=None,  # httpx has timeouts for each step; ours is for the whole request
        limits=limits,
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # a receiver's cookies are not kept
    )


def _is_tls(error: BaseException) -> bool:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError):
            return True
        found = found.__cause__ or found.__context__
    return False
