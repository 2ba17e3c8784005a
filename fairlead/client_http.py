"""Fairlead over HTTP, with an API key: `Fairlead` blocks, `AsyncFairlead` is awaited."""

from __future__ import annotations

from types import TracebackType
from typing import Final, TypeVar

import httpx

from fairlead.awaited import AsyncCalls
from fairlead.blocking import Calls
from fairlead.calls import TIMEOUT_S, Call, answer_of
from fairlead.errors import Unavailable

T = TypeVar("T")

_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
"""Of one client: when all connections are in use, a call waits for one, within its time."""


class Fairlead(Calls):
    """Calls edges at `url`, such as "http://127.0.0.1:8000", with one of their API keys (`http_api.key`).

    Make one for the process and keep it: it keeps connections. `http` is a client of your own (proxies, TLS), which you
    close yourself.
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
        try:
            response = self._http.post(
                self._address.of(call), content=call.body, headers=self._address.headers, timeout=timeout_s
            )
        except httpx.TransportError as error:
            raise _unavailable(call, error) from error
        return answer_of(call, response.content, response.status_code)


class AsyncFairlead(AsyncCalls):
    """The same for asyncio. `http` is a client of your own, which you close yourself."""

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
        try:
            response = await self._http.post(
                self._address.of(call), content=call.body, headers=self._address.headers, timeout=timeout_s
            )
        except httpx.TransportError as error:
            raise _unavailable(call, error) from error
        return answer_of(call, response.content, response.status_code)


class _Address:
    """Where calls go, and what lets them in."""

    def __init__(self, url: str, api_key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected an address that begins with http:// or https://")
        if not api_key:
            raise ValueError("expected an API key (http_api.key of the edges)")
        self._url = url.rstrip("/")
        self.headers = {"X-API-Key": api_key, "Content-Type": "application/json"}

    def of(self, call: Call[T]) -> str:
        return f"{self._url}/api/{call.method}"


def _unavailable(call: Call[T], error: httpx.TransportError) -> Unavailable:
    return Unavailable(f"{call.method}: {str(error) or type(error).__name__}")
