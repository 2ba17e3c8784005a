"""Fairlead over HTTP, with an API key: `Fairlead` blocks, `AsyncFairlead` is awaited."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx

from fairlead.awaited import AsyncCalls
from fairlead.blocking import Calls
from fairlead.calls import TIMEOUT_S, Call, answer_of
from fairlead.errors import BadAnswer, FairleadError, Unavailable

T = TypeVar("T")

_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
"""For each client: if all connections are in use, a call waits for one, within its own time limit."""
_LONGEST_ANSWER: Final = 64 * 1024 * 1024
"""In bytes. A whole history may be long; a server that is not an edge could send without end."""


class Fairlead(Calls):
    """Calls edges at `url`, such as "http://127.0.0.1:8000", with one of their API keys (`http_api.key`).

    Make one for the process and keep it: it reuses connections. `http` is a client of your own (proxies, TLS), which
    you close yourself.
    """

    def __init__(
        self, url: str, api_key: str, *, timeout_s: float = TIMEOUT_S, http: httpx.Client | None = None
    ) -> None:
        super().__init__(timeout_s)
        self._address = _Address(url, api_key)
        self._owned = http is None
        self._http = http or httpx.Client(limits=_LIMITS)

    def __enter__(self) -> Fairlead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._owned:
            self._http.close()

    def _attempt(self, call: Call[T], timeout_s: float) -> T:
        ends_at = time.monotonic() + timeout_s
        body = bytearray()
        try:
            with self._http.stream("POST", **self._address.request(call, timeout_s)) as response:
                for part in response.iter_bytes():
                    _add(part, body, call)
                    if time.monotonic() > ends_at:  # httpx limits only the time for each part
                        raise httpx.ReadTimeout(f"no whole answer within {timeout_s:.1f} s")
        except httpx.RequestError as error:
            raise _failed(call, error) from error
        return answer_of(call, bytes(body), response.status_code)


class AsyncFairlead(AsyncCalls):
    """Like `Fairlead`, for asyncio. `http` is a client of your own, which you close yourself."""

    def __init__(
        self, url: str, api_key: str, *, timeout_s: float = TIMEOUT_S, http: httpx.AsyncClient | None = None
    ) -> None:
        super().__init__(timeout_s)
        self._address = _Address(url, api_key)
        self._owned = http is None
        self._http = http or httpx.AsyncClient(limits=_LIMITS)

    async def __aenter__(self) -> AsyncFairlead:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def _attempt(self, call: Call[T], timeout_s: float) -> T:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._http.stream("POST", **self._address.request(call, timeout_s)) as response,
            ):
                async for part in response.aiter_bytes():
                    _add(part, body, call)
        except TimeoutError:
            raise Unavailable(f"{call.method}: no whole answer within {timeout_s:.1f} s") from None
        except httpx.RequestError as error:
            raise _failed(call, error) from error
        return answer_of(call, bytes(body), response.status_code)


class _Address:
    """The address of the edges, and the key for calls."""

    def __init__(self, url: str, api_key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected an address that begins with http:// or https://")
        if not api_key:
            raise ValueError("expected an API key (http_api.key of the edges)")
        self._url = url.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}

    def request(self, call: Call[T], timeout_s: float) -> dict[str, Any]:
        """The arguments for httpx's `stream`. Redirects are not followed, even if the application's own client
        would."""
        return {
            "url": f"{self._url}/api/{call.method}",
            "content": call.body,
            "headers": self._headers,
            "timeout": timeout_s,
            "follow_redirects": False,
        }


def _add(part: bytes, body: bytearray, call: Call[T]) -> None:
    body += part
    if len(body) > _LONGEST_ANSWER:
        raise BadAnswer(f"{call.method}: the answer is longer than {_LONGEST_ANSWER} bytes")


def _failed(call: Call[T], error: httpx.RequestError) -> FairleadError:
    text = f"{call.method}: {str(error) or type(error).__name__}"
    return Unavailable(text) if isinstance(error, httpx.TransportError) else BadAnswer(text)
