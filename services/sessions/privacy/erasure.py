"""Erases a user: in the log, in everything derived from it, and in the histories of channels.

The order makes it safe to stop anywhere and to begin again: a fact is removed before the one that tells whose it is.
The log is rewritten first, while the tables still know the user's connections; then `Erased` is written, which every
fold obeys; facts that came meanwhile, such as while the operator confirmed, are rewritten last. Digests of the
connections are kept: edges that were away write facts about them later, and another erasure finds these.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Final

from services.chassis.nats.consumers import Consumer
from services.chassis.nats.link import NatsLink
from services.chassis.postgres.pool import Pool
from services.sessions.claims_postgres import Claim, OthersWork, Work, claimed
from services.sessions.privacy.archive_postgres import Archive, Place
from services.sessions.privacy.disconnecting_nats import disconnect
from services.sessions.privacy.keys_nats import Keys
from services.sessions.privacy.log_nats import LogOfPerson
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Connected, Incomplete, Progress, Report
from services.sessions.privacy.publications_nats import Found, Publications
from services.sessions.privacy.rewriting import Connections
from services.sessions.privacy.tables_postgres import Tables

PATIENCE_S: Final = 30.0
"""How long an erasure waits for the service to read the log, and for the user's sessions to end."""
_HEARD_S: Final = 6.0
"""How long the service may hear no edge: longer than it takes to count an edge as lost."""
_AGAIN_S: Final = 0.1
HEARING: Final = "asking whether the sessions service runs"
READING: Final = "waiting until all have read the session log"
"""The step in which the read models, the webhooks and durable consumers read the messages that will be rewritten."""
_NAMED: Final = 8
"""How many consumers are named that have not read the log."""


@dataclass(slots=True)
class _Search:
    """Where data about the user was found, up to the message `upto` of the log of this epoch."""

    epoch: str
    upto: int
    log: array[int]
    archive: list[Place]
    publications: list[Found]
    keys: array[int]


class Erasure:
    """The erasure of one user. `webhooks` are the names of the configured webhooks, which read the log too.

    Every method raises `StoreAway`, `NatsAway`, `NatsRefused`, and `Incomplete`: another erasure then goes on.
    """

    def __init__(
        self,
        link: NatsLink,
        pool: Pool,
        person: Person,
        webhooks: list[str],
        progress: Progress,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._link = link
        self._pool = pool
        self._person = person
        self._webhooks = webhooks
        self._progress = progress
        self._patience_s = patience_s
        self._archive = Archive(pool, progress)
        self._log = LogOfPerson(link, self._archive, progress)
        self._tables = Tables(pool, person)
        self._publications = Publications(link, person, progress)
        self._keys = Keys(link, person, progress)
        self._about = Connections(person, set())
        self._found: _Search | None = None

    async def search(self) -> Report:
        """Finds what is stored about the user. Changes nothing."""
        state = await self._log.state()
        await self._read_upto(state.last, state.epoch)
        self._about = about = await self._tables.connections()
        archive = await self._archive.search(about)
        log = await self._log.search(about, state.first - 1, state.last)
        publications, keys = await self._publications.search(), await self._keys.search()
        self._found = _Search(state.epoch, state.last, log, archive, publications, keys)
        counts = await self._tables.count(about)
        counts["log messages"] = len(log)
        counts["archived log messages"] = len(archive)
        counts["publications"] = sum(len(each.log) for each in publications)
        counts["index entries"] = sum(len(numbers) for each in publications for numbers in each.indexes.values())
        counts["idempotency keys"] = len(keys)
        return Report(+counts, await self._tables.erased_at())

    async def disconnected(self, and_end: bool) -> None:
        """Raises `Connected` if the user is connected. With `and_end` it ends the connections instead, and waits until
        they are closed."""
        if not await self._tables.open_sessions():
            return
        if not and_end:
            raise Connected
        await self._see_the_service_run()
        await disconnect(self._link, self._person)
        until = self._until()
        while await self._tables.open_sessions():
            await self._wait(
                until, "sessions of the user are still open, or open again: let your application refuse them"
            )

    async def _see_the_service_run(self) -> None:
        """Waits until the service hears an edge; each sends a heartbeat every second. So nobody is disconnected for an
        erasure that cannot go on because the service does not run."""
        heard, until = await self._tables.heard(), self._until(min(_HEARD_S, self._patience_s))
        while await self._tables.heard() == heard:
            self._progress(HEARING, 0, 0)
            await self._wait(
                until, "nobody was disconnected, as the sessions service does not run, or hears no edge: start it"
            )

    async def erase(self) -> Counter[str]:
        """Erases what `search` has found, and what came since. Returns how many facts were removed, by store."""
        try:
            async with claimed(self._pool, Work.ERASING) as held:
                return await self._erase(held)
        except OthersWork:
            raise Incomplete("a read model is being rebuilt from facts to be erased: wait until that is over") from None

    async def _erase(self, held: Claim) -> Counter[str]:
        found, about = self._found, self._about
        assert found is not None, "search first"
        done: Counter[str] = Counter()
        await self._acknowledged(found.log)
        await self._tables.remember(about)
        done["facts in the log"] = await self._log.erase(about, found.epoch, found.log)
        done["facts in the archive"] = await self._archive.erase(about, found.archive)
        await self._erase_published(found.publications, found.keys)
        erased = await self._log.append(self._person, int(time.time() * 1000))
        await self._read_upto(erased, found.epoch)
        late = await self._log.search(about, found.upto, erased)
        await self._tables.remember(about)
        await self._acknowledged(late)
        done["facts in the log"] += await self._log.erase(about, found.epoch, late)
        await self._erase_published(await self._publications.search(), await self._keys.search())
        await held.check()
        await self._tables.erase(about)
        return done

    async def _erase_published(self, publications: list[Found], keys: array[int]) -> None:
        for each in publications:
            await self._publications.erase(each)
        await self._keys.erase(keys)

    async def _read_upto(self, sequence: int, epoch: str) -> None:
        """Waits until all readers of the log have read it up to there: messages that they have not read must not be
        rewritten."""
        until = self._until()
        while True:
            position = await self._tables.position(self._webhooks)
            if position.epoch == epoch and position.sequence >= sequence:
                return
            self._progress(READING, position.sequence, sequence)
            await self._wait(
                until,
                "the sessions service, or one of its webhooks, has read the log only up to message "
                f"{position.sequence} of {sequence}: it must run, and catch up",
            )

    async def _acknowledged(self, sequences: array[int]) -> None:
        """Waits until the durable consumers of the log have acknowledged the newest of these messages, which are to be
        rewritten: the stream loses them as a whole, with what they say about others."""
        if not sequences:
            return
        last, until = sequences[-1], self._until()
        while behind := await self._log.consumers_before(last):
            self._progress(READING, min(each.acknowledged for each in behind), last)
            await self._wait(until, _behind(behind, last))

    def _until(self, patience_s: float | None = None) -> float:
        return asyncio.get_running_loop().time() + (self._patience_s if patience_s is None else patience_s)

    async def _wait(self, until: float, why: str) -> None:
        if asyncio.get_running_loop().time() > until:
            raise Incomplete(why)
        await asyncio.sleep(_AGAIN_S)


def _behind(consumers: list[Consumer], last: int) -> str:
    named = [f"{each.name} (up to {each.acknowledged})" for each in consumers[:_NAMED]]
    if len(consumers) > _NAMED:
        named.append(f"{len(consumers) - _NAMED} more")
    return (
        f"message {last} of the stream SESSIONS is to be rewritten, and durable consumers have not acknowledged it: "
        f"{', '.join(named)}. Let them catch up, or remove those that nobody uses (nats consumer rm SESSIONS NAME)"
    )
