"""Delivers the events of the log to one webhook, in order, each request again until it is taken or given up.

One process works on a webhook at a time. The position moves after the answer, so a request that was in flight when a
process ended is sent again: at least once, and with the same ids.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Final, Protocol

from services.chassis.nats.credential_files import BadFile
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.postgres.pool import Pool
from services.chassis.process.complaint import Complaint
from services.sessions.instruments import Instruments
from services.sessions.log_nats import LogAway, LogNewer, LogPage, SessionLog
from services.sessions.store import ORIGIN, Position
from services.sessions.webhooks.batches import Batch, Cursor, batches, pieces
from services.sessions.webhooks.payload import body_of
from services.sessions.webhooks.progress import Beginning, Progress, SetAside, Stored, beginning_in
from services.sessions.webhooks.progress_postgres import WebhookProgress, held
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.tracker import Changes, Tracker
from services.sessions.webhooks.verdict import REFUSALS, Meaning, Verdict, pause_s

log = logging.getLogger(__name__)

CHECK_INTERVAL_S: Final = 1.0
"""How often the log's identity is checked, and whether another process has given up its lock."""

_GRACE_S: Final = 0.02  # a message arrives a moment before it can be read from the stream
_RETRY_S: Final = (0.1, 2.0)  # first and longest pause

_NOTHING: Final[frozenset[str]] = frozenset()


class Sender(Protocol):
    """What sends a request (`sender_http`, which is imported late)."""

    async def send(self, body: bytes) -> Verdict:
        """POSTs `body` once. Every failure is a verdict, never an exception."""

    async def close(self) -> None:
        """Ends its connections."""


class Webhook:
    """One webhook. `prepare` makes the tables usable; `log_kept_s` is for how long the log keeps facts."""

    def __init__(
        self,
        settings: WebhookSettings,
        session_log: SessionLog,
        pool: Pool,
        prepare: Callable[[], Awaitable[None]],
        instruments: Instruments,
        log_kept_s: float,
        open_sender: Callable[[WebhookSettings], Sender] | None = None,
    ) -> None:
        self._settings = settings
        self._name = settings.name
        self._log = session_log
        self._pool = pool
        self._prepare = prepare
        self._instruments = instruments
        self._log_kept_s = log_kept_s
        self._open_sender = open_sender or _open_http
        self._sender: Sender | None = None
        self._written = asyncio.Event()
        self._complaint = Complaint()
        self._failing = False
        self._refused_in_a_row = 0  # requests of which nothing was taken
        self._aside_unsaid = 0  # events that were set aside since that was last logged
        self.problem: str | None = None
        """Why it cannot work now, for `/readyz`; None if it can."""
        self._oldest_at: int | None = None  # of the request in progress, in Unix milliseconds
        instruments.webhook_age.labels(self._name).set_function(self._age_s)
        for counter in (instruments.webhook_events, instruments.webhook_dead_letters, instruments.webhook_overtaken):
            counter.labels(self._name)  # at 0: Prometheus sees no increase of what was not there before

    def notify(self) -> None:
        """Wakes it: something may have been written to the log."""
        self._written.set()

    async def run(self) -> None:
        """Works until cancelled."""
        first_pause, longest = _RETRY_S
        pause, prepared = first_pause, False
        try:
            while True:
                began = time.monotonic()
                try:
                    if self._sender is None:  # half a second of imports, which the event loop must not wait for
                        self._sender = await asyncio.to_thread(self._open_sender, self._settings)
                    if not prepared:
                        await self._prepare()
                        prepared = True
                    async with held(self._pool, self._name) as progress:
                        if progress is None:
                            self.problem = None  # another process works on it
                        else:
                            await self._work(progress)
                except (StoreAway, LogAway, LogNewer, SchemaRefused, BadFile, OSError) as error:
                    prepared = False
                    self.problem = f"webhook {self._name}, which cannot go on: {error}"
                    if self._complaint.due(str(error), time.monotonic()):
                        log.warning("webhook %s cannot go on now, retrying: %s", self._name, error)
                self._oldest_at = None
                pause = min(pause * 2, longest) if time.monotonic() - began < longest else first_pause
                await asyncio.sleep(pause)
        finally:
            self._oldest_at = None  # a webhook that was removed does not age
            if self._sender is not None:
                await self._sender.close()

    async def _work(self, progress: WebhookProgress) -> None:
        """Follows the log until it is recreated, or has lost messages that were not delivered."""
        stored = await progress.load(self._log_kept_s)
        beginning = beginning_in(await self._log.state(), stored.progress)
        if beginning is not None:
            self._report(beginning, stored.progress)
            await progress.begin(beginning.progress, keep=beginning.keep)
            stored = Stored(beginning.progress, *(stored[1:] if beginning.keep else ({}, {})))
        at = stored.progress
        # Notices now if the database takes no writes, rather than after each request, which would then be sent again.
        await progress.commit(at, Changes({}, {}))
        tracker = Tracker(stored.rows, stored.writers)
        begins = "webhook %s follows the session log from message %d, with %d connections"
        log.info(begins, self._name, at.at.sequence + 1, len(tracker))
        checked = time.monotonic()
        while True:
            self._written.clear()
            page = await self._log.read(at.at.sequence + 1)
            self.problem = None
            at = await self._deliver_page(progress, page, at, tracker)
            if not page.more:
                await self._wait_for_notice()
            if time.monotonic() - checked >= CHECK_INTERVAL_S:
                await progress.check()
                await self._forget_lost(progress, at, tracker)
                if beginning_in(await self._log.state(), at) is not None:
                    return
                checked = time.monotonic()

    async def _forget_lost(self, progress: WebhookProgress, at: Progress, tracker: Tracker) -> None:
        """Forgets connections of edges that never came back, once the log has dropped their facts."""
        changes = tracker.forget_lost(int((time.time() - self._log_kept_s) * 1000))
        if changes.rows:
            await progress.commit(at, changes)

    def _report(self, beginning: Beginning, before: Progress) -> None:
        if beginning.gone:
            self._instruments.webhook_overtaken.labels(self._name).inc(beginning.gone)
            log.error(
                "webhook %s: the session log no longer has the %d messages after %d, which were not delivered: it goes "
                "on with what happens from now on; see sessions.log_max_age and sessions.log_max_bytes",
                self._name,
                beginning.gone,
                before.at.sequence,
            )
        elif before.at != ORIGIN:
            log.error("webhook %s: the session log was recreated; it is sent from its beginning", self._name)

    async def _wait_for_notice(self) -> None:
        try:
            async with asyncio.timeout(CHECK_INTERVAL_S):
                await self._written.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_GRACE_S)

    async def _deliver_page(self, progress: WebhookProgress, page: LogPage, at: Progress, tracker: Tracker) -> Progress:
        for piece in pieces(page.entries, page.upto, at.silent_until):
            wanted: Set[str] = _NOTHING if piece.silent else self._settings.wanted
            cursor = Cursor(at.at.sequence, at.part)
            for batch in batches(piece.entries, piece.upto, cursor, tracker, wanted, self._settings.max_events):
                at = await self._deliver(progress, batch, at)
            await asyncio.sleep(0)
        return at

    async def _deliver(self, progress: WebhookProgress, batch: Batch, at: Progress) -> Progress:
        set_aside: list[SetAside] = []
        if batch.events:
            self._oldest_at = batch.oldest_at
            set_aside = await self._send(progress, batch.events)
        given_up = sum(one.events for one in set_aside)
        after = Progress(Position(at.at.epoch, batch.after.done), batch.after.part, at.silent_until)
        if after != at:
            await progress.commit(after, batch.changes, set_aside)
        self._oldest_at = None
        if set_aside:
            self._say_set_aside(given_up, ", ".join(sorted({one.reason for one in set_aside})))
        if batch.events and given_up == len(batch.events):
            # The receiver may refuse every request, such as with 400 for a wrong signature. Without a pause the whole
            # log would soon be among the dead letters, and the oldest of them removed.
            self._refused_in_a_row += 1
            await asyncio.sleep(pause_s(self._refused_in_a_row))
        elif batch.events:
            self._refused_in_a_row = 0
        return after

    def _say_set_aside(self, events: int, reasons: str) -> None:
        self._instruments.webhook_dead_letters.labels(self._name).inc(events)
        self._aside_unsaid += events
        if self._complaint.due(f"set aside: {reasons}", time.monotonic()):
            log.error(
                "%d events for webhook %s were set aside: %s; `python -m services.sessions webhook-dead-letters` lists "
                "and replays them",
                self._aside_unsaid,
                self._name,
                reasons,
            )
            self._aside_unsaid = 0

    async def _send(self, progress: WebhookProgress, events: Sequence[bytes]) -> list[SetAside]:
        """Sends the events, and returns those to set aside. If the receiver refuses a request, events in it that it
        takes by themselves are delivered."""
        set_aside: list[SetAside] = []
        waiting = [events]
        any_taken, refusals = False, REFUSALS
        while waiting:
            part = waiting.pop()
            verdict = await self._until_settled(progress, part, refusals)
            if verdict.meaning is Meaning.TAKEN:
                any_taken = True
            elif verdict.meaning is Meaning.REFUSED and len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                refusals = 1
            else:
                set_aside.append(SetAside(body_of(part), len(part), verdict.reason))
            if waiting:
                await progress.check()  # many requests may follow before the next commit
        if not any_taken and len(set_aside) > 1:  # everything was refused: this becomes one letter
            return [SetAside(body_of(events), len(events), set_aside[0].reason)]
        return set_aside

    async def _until_settled(self, progress: WebhookProgress, events: Sequence[bytes], refusals: int) -> Verdict:
        """Sends the events in one request until they are taken, refused `refusals` times, or given up."""
        assert self._sender is not None
        body, started, attempt, refused = body_of(events), time.monotonic(), 0, 0
        while True:
            attempt += 1
            verdict = await self._sender.send(body)
            self._instruments.webhook_requests.labels(self._name, verdict.outcome).inc()
            if verdict.meaning is Meaning.TAKEN:
                self._instruments.webhook_events.labels(self._name).inc(len(events))
                if self._failing:
                    log.info("webhook %s takes events again", self._name)
                    self._failing = False
                    self.problem = None
                return verdict
            refused += verdict.meaning is Meaning.REFUSED
            left_s = self._settings.give_up_after - (time.monotonic() - started)
            if refused >= refusals or left_s <= 0:
                return verdict
            self._failing = True
            self.problem = f"webhook {self._name}, whose receiver does not take events: {verdict.reason}"
            if self._complaint.due(verdict.reason, time.monotonic()):
                log.warning("webhook %s does not take events, trying again: %s", self._name, verdict.reason)
            await progress.check()
            await asyncio.sleep(min(pause_s(attempt), left_s))

    def _age_s(self) -> float:
        return 0.0 if self._oldest_at is None else max(0.0, time.time() - self._oldest_at / 1000)


def _open_http(settings: WebhookSettings) -> Sender:
    from services.sessions.webhooks.sender_http import WebhookSender

    return WebhookSender(settings)
