"""A reload: a process reads its settings again, and takes over those that may change while it runs. All or nothing.

SIGHUP requests one. Each service decides which settings may change. If any other setting differs, the reload as a whole
is refused, so that after a successful reload the process runs with exactly what its configuration says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Set
from typing import Final, Generic, TypeVar, cast

from msgspec import Struct
from msgspec.structs import fields

from services.chassis.process.settings import ConfigurationError
from services.chassis.process.tasks import Tasks

log = logging.getLogger(__name__)

READ_WITHIN_S: Final = 30.0
"""A file on a network disk may take this long, and no longer."""

S = TypeVar("S", bound=Struct)


class ReloadRefused(Exception):
    """Valid settings cannot be applied now. The text says why; nothing has changed."""


class Reloads(Generic[S]):
    """The reloads of a process, one after the other. `successful` says whether the last one succeeded, `succeeded_at`
    (Unix time) when one last did, and `in_progress` whether one is running.

    `running` are the settings of the start; `read` reads them anew, and raises `ConfigurationError`. `reloadable` names
    what may change: sections ("limits") and keys ("client.allowed_origins"). `adopt` gets settings of which nothing
    else has changed: it applies all of them, or raises `ReloadRefused`.
    """

    def __init__(
        self,
        running: S,
        read: Callable[[], S],
        reloadable: Set[str],
        adopt: Callable[[S], Awaitable[None]],
        now: Callable[[], float] = time.time,
        read_within_s: float = READ_WITHIN_S,
    ) -> None:
        self.running = running
        self._read = read
        self._reloadable = reloadable
        self._adopt = adopt
        self._now = now
        self._read_within_s = read_within_s
        self.successful = True
        self.succeeded_at = now()
        self._tasks = Tasks()
        self.in_progress = False
        self._wanted = False

    def request(self) -> None:
        """Reloads soon. If a reload is in progress, another one follows, as the first may already have read the
        settings."""
        self._wanted = True
        if not self.in_progress:
            self.in_progress = True
            self._tasks.start(self._run())

    async def stop(self) -> None:
        """Cancels a reload that is in progress."""
        await self._tasks.stop()

    async def _run(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                await self._reload()
        finally:
            self.in_progress = False

    async def _reload(self) -> None:
        try:
            changed = await self._take_over(await self._read_aside())
        except (ConfigurationError, ReloadRefused) as error:
            self.successful = False
            log.error("reload refused, the settings from before stay: %s", error)
            return
        except Exception:
            self.successful = False
            log.exception("reload failed, the settings from before stay")
            return
        self.successful, self.succeeded_at = True, self._now()
        log.info("reloaded: %s", ", ".join(changed) or "nothing has changed")

    async def _read_aside(self) -> S:
        """Reads the settings in a thread, so that a slow disk holds up neither the next reload nor the end of the
        process."""
        loop = asyncio.get_running_loop()
        reading: asyncio.Future[S] = loop.create_future()

        def settle(settings: S | None, error: Exception | None) -> None:
            if reading.done():
                return
            if error is not None:
                reading.set_exception(error)
            else:
                reading.set_result(cast("S", settings))

        def read() -> None:
            settings, error = None, None
            try:
                settings = self._read()
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, settings, error)

        threading.Thread(target=read, name="reload", daemon=True).start()
        try:
            return await asyncio.wait_for(reading, self._read_within_s)
        except TimeoutError:
            raise ReloadRefused(f"the configuration could not be read within {self._read_within_s:g} s") from None

    async def _take_over(self, settings: S) -> list[str]:
        changed = changed_keys(self.running, settings)
        if fixed := [key for key in changed if not self._may_change(key)]:
            raise ReloadRefused(f"only a restart changes {', '.join(fixed)}: undo that change, or restart the process")
        if changed:
            await self._adopt(settings)
            self.running = settings
        return changed

    def _may_change(self, key: str) -> bool:
        return key in self._reloadable or key.partition(".")[0] in self._reloadable


def changed_keys(before: Struct, after: Struct) -> list[str]:
    """The keys that differ, such as "client.allowed_origins"; for a list of tables, its name.

    Both are settings of the same service.
    """
    found: list[str] = []
    for section in fields(before):
        old, new = getattr(before, section.name), getattr(after, section.name)
        if not isinstance(old, Struct):
            found += [section.name] if old != new else []
            continue
        found += [
            f"{section.name}.{key.name}" for key in fields(old) if getattr(old, key.name) != getattr(new, key.name)
        ]
    return found


def news(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """The lines of `after` that are not among those of `before`."""
    known = set(before)
    return [line for line in after if line not in known]
