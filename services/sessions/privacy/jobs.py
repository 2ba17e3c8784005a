"""Erasures that were requested over HTTP: they run in the background, and report their progress."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from services.chassis.nats.link import NatsAway, NatsRefused
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.process.tasks import Tasks
from services.sessions.privacy.access import Stores
from services.sessions.privacy.erasure import Erasure
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Connected, Incomplete
from services.sessions.privacy.unreachable import UNREACHABLE

log = logging.getLogger(__name__)

MAX_RUNNING: Final = 4
"""Each reads everything that NATS holds."""
MAX_KEPT: Final = 256
"""Erasures that have ended, whose results can still be requested."""

_HOW_TO_DISCONNECT: Final = 'ask again with "disconnect": true'

Open = Callable[[], AbstractAsyncContextManager[Stores]]


class Asked(NamedTuple):
    """What was requested: for which user, by digest, and how."""

    digest: str
    dry_run: bool
    disconnect: bool


class Job(msgspec.Struct):
    """An erasure. `stores`: how much was found, by store; `step`: what it works on, of which `done` of `total` is done.

    If `state` is "failed", `error` has the reason: what is done stays done, and another request goes on from there.
    """

    id: str
    state: Literal["running", "done", "failed"] = "running"
    dry_run: bool = False
    step: str = ""
    done: int = 0
    total: int = 0
    stores: dict[str, int] = {}
    facts_removed: int = 0
    error: str | None = None
    unreachable: tuple[str, ...] = ()

    def progress(self, step: str, done: int, total: int) -> None:
        """See `Progress`."""
        self.step, self.done, self.total = step, done, total


class TooMany(Exception):
    """The most erasures that may run at a time are running."""


class Jobs:
    """The erasures of this process. Those of one user run one after the other, in the order of the requests."""

    def __init__(self, open_stores: Open) -> None:
        self._open = open_stores
        self._tasks = Tasks()
        self._jobs: dict[str, Job] = {}
        self._running: dict[Asked, Job] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by the user's digest

    def get(self, name: str) -> Job | None:
        """The erasure of this id, if this process knows it."""
        return self._jobs.get(name)

    def start(self, person: Person, dry_run: bool, disconnect: bool) -> Job:
        """Begins to erase a user, or returns the same erasure if it is already running. Raises `TooMany`."""
        asked = Asked(person.digest, dry_run, disconnect and not dry_run)
        running = self._running.get(asked)
        if running is not None:
            return running
        if len(self._running) >= MAX_RUNNING:
            raise TooMany(f"{MAX_RUNNING} erasures are running")
        while len(self._jobs) >= MAX_KEPT:
            del self._jobs[next(name for name, job in self._jobs.items() if job.state != "running")]
        job = Job(uuid.uuid4().hex, dry_run=dry_run)
        self._jobs[job.id] = self._running[asked] = job
        self._tasks.start(self._run(job, person, asked))
        return job

    async def stop(self) -> None:
        """Ends all of them; if they are requested again, they go on."""
        await self._tasks.stop()

    async def _run(self, job: Job, person: Person, asked: Asked) -> None:
        try:
            await self._in_turn(job, person, asked)
            job.state = "done"
        except Connected as error:
            job.state, job.error = "failed", f"{error}, and {_HOW_TO_DISCONNECT}"
        except (StoreAway, SchemaRefused, NatsAway, NatsRefused, Incomplete) as error:
            job.state, job.error = "failed", str(error)
        except Exception as error:
            log.exception("job %s failed", job.id)
            job.state, job.error = "failed", f"a fault of Fairlead: {type(error).__name__}; its log has more"
        finally:
            del self._running[asked]
            log.info("job %s: %s", job.id, job.error or job.state)

    async def _in_turn(self, job: Job, person: Person, asked: Asked) -> None:
        turn = self._turns.get(asked.digest)
        if turn is None:
            turn = self._turns[asked.digest] = asyncio.Lock()
        if turn.locked():
            job.step = "waiting for the erasure of this user that runs"
        async with turn:
            await self._erase(job, person, asked)

    async def _erase(self, job: Job, person: Person, asked: Asked) -> None:
        async with self._open() as stores:
            erasure = Erasure(stores.link, stores.pool, person, stores.webhooks, job.progress)
            if not asked.dry_run:
                await erasure.disconnected(and_end=asked.disconnect)
            report = await erasure.search()
            job.stores = dict(report.stores)
            if report.total and not asked.dry_run:
                job.facts_removed = (await erasure.erase()).total()
                job.unreachable = UNREACHABLE
