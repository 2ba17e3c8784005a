"""What PostgreSQL knows about one edge's sessions, read from the sessions service over HTTP, as its users read it."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable

import msgspec

from perf.errors import RunFailed

_PAGE = 1000
_POLL_S = 0.25
_TIMEOUT_S = 10.0


class ReadFailed(RunFailed):
    """The sessions service did not answer, or not with sessions. The text says what to do."""


class _Session(msgspec.Struct):
    id: str
    ended_at: str | None
    end_code: int | None


class _Page(msgspec.Struct):
    sessions: list[_Session]
    next: str | None  # cursor of the page that follows


class SessionReads:
    """`url` is the service's base. The key is sent in the header X-API-Key and never shown."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url.rstrip("/")
        self._key = api_key

    async def opened(self, edge: str, at_least: int, within_s: float) -> int:
        """The number of an edge's sessions: returns as soon as there are `at_least`, or when the time is over."""
        return len(await self._until(edge, lambda session: True, at_least, within_s))

    async def ends(self, edge: str, at_least: int, within_s: float) -> dict[str, int]:
        """The same for sessions whose end is recorded, by close code."""
        ended = await self._until(edge, lambda session: session.ended_at is not None, at_least, within_s)
        return dict(Counter(str(session.end_code) for session in ended))

    async def _until(
        self, edge: str, wanted: Callable[[_Session], bool], at_least: int, within_s: float
    ) -> list[_Session]:
        until = time.monotonic() + within_s
        while True:
            found = [session for session in await asyncio.to_thread(self._all, edge) if wanted(session)]
            if len(found) >= at_least or time.monotonic() > until:
                return found
            await asyncio.sleep(_POLL_S)

    def _all(self, edge: str) -> list[_Session]:
        found: dict[str, _Session] = {}
        cursor: str | None = None
        while True:
            query = {"edge": edge, "limit": str(_PAGE), **({"cursor": cursor} if cursor else {})}
            page = self._page(f"{self._url}/sessions?{urllib.parse.urlencode(query)}")
            found.update((session.id, session) for session in page.sessions)
            if page.next is None:
                return list(found.values())
            cursor = page.next

    def _page(self, url: str) -> _Page:
        request = urllib.request.Request(url, headers={"X-API-Key": self._key})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return msgspec.json.decode(answer.read(), type=_Page)
        except urllib.error.HTTPError as error:
            with error:
                raise ReadFailed(f"the sessions service answered {error.code} (is the API key the stack's?)") from None
        except OSError as error:
            raise ReadFailed(
                f"the sessions service at {self._url} does not answer ({error}); make up starts it"
            ) from None
        except msgspec.DecodeError as error:
            raise ReadFailed(f"the sessions service answered with something else than sessions: {error}") from None
