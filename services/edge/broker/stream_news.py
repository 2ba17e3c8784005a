"""Logs for operators which streams are shut, and when they are open again: a line for each reason, repeated less and
less often while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from services.chassis.process.log import Throttle
from services.chassis.process.tasks import Tasks

log = logging.getLogger(__name__)

GATHER_S: Final = 0.1
"""Changes within this time are reported together."""
_AGAIN_S: Final = 10.0
_LONGEST_S: Final = 300.0
_NAMED: Final = 5
_LINES: Final = 10
"""At most in 10 s. Beyond that, reports wait until lines are allowed again, and then give the state of that time."""
LATER_S: Final = 1.0


class StreamNews:
    """Logs changes from `start` on, in one of `tasks` while a stream is shut. An edge that fails to start reports the
    reason itself."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._shut: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._heard = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        self._lines = Throttle(_LINES)
        self._started = False

    def start(self) -> None:
        """Reports which streams are shut now, and all changes from now on."""
        if not self._started:
            self._started = True
            if self._shut:
                self._tell_soon()

    def shut(self, stream: str, why: str) -> None:
        """A stream is shut, perhaps for another reason than before."""
        if self._shut.get(stream) != why:
            self._shut[stream] = why
            self._tell_soon()

    def opened(self, stream: str) -> None:
        """A stream is open again."""
        self._shut.pop(stream, None)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._started:
            return
        self._heard.set()
        if self._telling is None or self._telling.done():
            self._telling = self._tasks.start(self._tell())

    async def _tell(self) -> None:
        wait_s = _AGAIN_S
        while self._shut or self._heard.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._heard.wait()
            if self._heard.is_set():
                await asyncio.sleep(GATHER_S)
                self._heard.clear()
                wait_s = _AGAIN_S
            else:
                wait_s = min(2 * wait_s, _LONGEST_S)
                self._told.clear()
            if not self._tell_changes():
                await asyncio.sleep(LATER_S)
                self._heard.set()

    def _tell_changes(self) -> bool:
        """Reports what has changed. Returns false, without a report, if there were too many lines."""
        by_why: defaultdict[str, list[str]] = defaultdict(list)
        for stream, why in self._shut.items():
            if self._told.get(stream) != why:
                by_why[why].append(stream)
        back = [stream for stream in self._told if stream not in self._shut]
        if not by_why and not back:
            return True
        if self._lines.allows(asyncio.get_running_loop().time()) is None:
            return False
        for why, streams in by_why.items():
            log.warning(
                "%s: publishes and subscribes there get error 100 until it can be used: %s", named(streams), why
            )
        if back:
            log.info("%s can be used again", named(back))
        self._told = dict(self._shut)
        return True


def named(streams: Iterable[str]) -> str:
    """The streams in a phrase: the first ones by name, and how many more there are."""
    names = sorted(streams)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"stream{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMED])}{more}"
