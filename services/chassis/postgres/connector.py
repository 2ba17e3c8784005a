"""Connects to the server that takes writes, if `postgres.url` names several.

asyncpg tries one server after the other within one timeout: a machine that is gone and does not answer would use it up.
Here each server has its share of the timeout, and the server that was found is tried first from then on.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Any, Final

import asyncpg

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.url import TARGET, each_server, target_of

_ANY: Final = "any"
_NO_SERVER: Final = (
    "PostgreSQL: no server of postgres.url takes writes now: promote one of them, or end its read-only mode"
)


class Connector:
    """Makes connections to `url`, which is already checked. `for_reading`: if no server takes writes, any other will
    do."""

    def __init__(self, url: str, for_reading: bool = False) -> None:
        self._urls = tuple(each_server(url))  # the one that was last found comes first
        target = target_of(url)
        self._targets = (target, _ANY) if target is not None and for_reading else (target,)
        self._makeshift_at: float | None = None  # when a server that takes no writes was used; monotonic time

    def takes_another(self, after_s: float) -> bool:
        """Whether a server that takes no writes was used as a makeshift, `after_s` seconds ago or longer. Says so only
        once for each such use."""
        over = self._makeshift_at is not None and time.monotonic() - self._makeshift_at >= after_s
        if over:
            self._makeshift_at = None
        return over

    async def connect(self, *_: Any, timeout: float, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        """A connection within `timeout` seconds; `options` are those of `asyncpg.connect`. Raises the error of
        `asyncpg.connect` for the server that was tried last, or `StoreAway` if servers answer, but none of them takes
        writes."""
        urls = self._urls  # a concurrent call may change them
        tries = list(product(self._targets, urls))
        there = False
        for number, (target, url) in enumerate(tries, 1):
            wanted: dict[str, Any] = {} if target is None else {TARGET: target}
            try:
                made: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
                    url, timeout=timeout / len(tries), **options, **wanted
                )
            except asyncpg.TargetServerAttributeNotMatched:
                there = True
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if number == len(tries) and not there:
                    raise
            else:
                self._urls = (url, *(each for each in urls if each != url))
                if target == _ANY:
                    self._makeshift_at = time.monotonic()
                return made
        raise StoreAway(_NO_SERVER)
