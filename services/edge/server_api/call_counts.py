"""Counts calls of the server API by method and code, and how long they take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proto import codes
from services.chassis.tracing.span import observe_traced
from services.edge.rejection import Rejected
from services.edge.server_api.answers import METHODS
from services.edge.tally import Tally

UNKNOWN: Final = "unknown"
"""Stands for a method that does not exist, or is not known: callers may write anything."""


class CallCounts:
    """Writes into the tally of the edge. The code of a call that succeeds is 0."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    @contextmanager
    def call(self, method: str) -> Iterator[None]:
        """Counts and times one call, which ends with the block; a `Rejected` that leaves the block is its error.

        If the call is traced, the trace becomes the exemplar of its time.
        """
        name = method if method in METHODS else UNKNOWN
        now = asyncio.get_running_loop().time
        began, code = now(), codes.INTERNAL.code
        try:
            yield
            code = 0
        except Rejected as rejection:
            code = rejection.error.code
            raise
        finally:
            self._tally.api_calls[name, code] += 1
            observe_traced(self._tally.timings.api_call_seconds.of(name), now() - began)

    def refused(self, method: str, code: int) -> None:
        """Counts a call that was refused before it was read: `code` is the HTTP status, or the code of an error."""
        self._tally.api_calls[method if method in METHODS else UNKNOWN, code] += 1
