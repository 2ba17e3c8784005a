"""The only way in which a test waits: for a condition, not for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


class NotYet(AssertionError):
    """The condition did not come true in time."""


@overload
async def eventually(check: Callable[[], Awaitable[T]], within_s: float = 10) -> T: ...
@overload
async def eventually(check: Callable[[], T], within_s: float = 10) -> T: ...
async def eventually(check: Callable[[], Any], within_s: float = 10) -> Any:
    """Calls `check`, plain or async, until it passes, and returns its result.

    It passes when it raises nothing and returns None (it asserted) or something true (it answered). When `within_s`
    seconds are over, the last failure is the error.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + within_s, _FIRST_PAUSE_S
    while True:
        failure: Exception | None = None
        try:
            answer = check()
            value = await answer if inspect.isawaitable(answer) else answer
            if value is None or value:
                return value
        except Exception as error:
            failure = error
        if loop.time() > deadline:
            raise NotYet(f"not within {within_s:g} s: {failure or 'it stayed false'}") from failure
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def wait_until(check: Callable[[], bool], what: str, within_s: float = 20) -> None:
    """The same for the start and stop of servers, which no event loop watches. A false answer means "not yet"."""
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() > deadline:
            raise NotYet(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)
