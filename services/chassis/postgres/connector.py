"""Connects to the server of a `postgres.url` that takes writes, where it names several.

asyncpg tries one server after the other within one timeout: a machine that is gone and answers nothing would use it up.
Here each server has its share, and the one that was found is tried first from then on.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from services.chassis.postgres.url import each_server, target_of

_NO_SERVER: Final = "no server of postgres.url takes writes now"


class Connector:
    """Makes connections to `url`, which is checked already."""

    def __init__(self, url: str) -> None:
        self._urls = tuple(each_server(url))  # the one that was found last is the first
        self._target = target_of(url)

    async def connect(self, *_: Any, timeout: float, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        """A connection within `timeout` seconds; `options` are those of `asyncpg.connect`. Raises what that raises, for
        the server that was tried last, and OSError if there are servers, but none of them takes writes."""
        if self._target is not None:
            options["target_session_attrs"] = self._target
        urls = self._urls  # others may find another one meanwhile
        share_s = timeout / len(urls)
        for number, url in enumerate(urls, 1):
            try:
                made: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url, timeout=share_s, **options)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if number == len(urls):
                    raise
            except asyncpg.TargetServerAttributeNotMatched:
                if number == len(urls):
                    raise ConnectionError(_NO_SERVER) from None
            else:
                self._urls = (url, *(each for each in urls if each != url))
                return made
        raise AssertionError("unreachable")
