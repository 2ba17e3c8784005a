"""The session log on JetStream: reads it, and writes the few facts that the sessions service itself adds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from proto import subjects
from proto.events import LOG_DUPLICATE_WINDOW_S, EventBatch, encode_batch
from proto.events_reading import NewerBatch, read_message
from services.chassis.nats.headers import seconds_of
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, header_block
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.stream_reads import READ_BYTES, read_stream
from services.chassis.nats.streams import renew_epoch, store, stream_state
from services.sessions.entries import Entry

MAX_MESSAGES: Final = 256
"""Stream messages in one read; fewer if they are large."""

FOLDED_BYTES: Final = 11 * 1024 * 1024
"""Bytes of a read by the fold: at 200 bytes a fact, slightly fewer facts than it puts into one transaction. A session
that is open between two transactions is written twice, each time with entries in ten indexes."""

_READ_S: Final = 15.0


class LogAway(Exception):
    """The log is unreachable. Trying again may succeed."""


class LogNewer(Exception):
    """The log has facts of a newer version of the contract. Skipping them would lose them."""


class LogState(NamedTuple):
    """The log's epoch, and the sequences of its first and last message (`first` is `last` + 1 if it is empty)."""

    epoch: str
    first: int
    last: int


class LogPage(NamedTuple):
    """The result of a read: messages up to the sequence `upto` (inclusive), and whether more follow."""

    entries: list[Entry]
    upto: int
    more: bool


class Waiting(NamedTuple):
    """Batches of the log that are not in the store, and the age of the oldest by NATS's clock, 0 without any."""

    batches: int
    oldest_age_s: float


class SessionLog:
    """The log, whose messages the stream keeps for `max_age_s` seconds and within `max_bytes`.

    Once the messages of a read are `page_bytes` in size, it ends. Every method raises `LogAway`.
    """

    def __init__(self, link: NatsLink, max_age_s: float, max_bytes: int, page_bytes: int = READ_BYTES) -> None:
        self._link = link
        self._page_bytes = page_bytes
        self._config = stream_config(
            subjects.SESSIONS_STREAM,
            subjects.SESSION_EVENTS_ALL,
            max_age_s,
            LOG_DUPLICATE_WINDOW_S,
            max_bytes=max_bytes,
        )

    def on_written(self, notify: Callable[[], None]) -> None:
        """Calls `notify` when something is written to the log; a call may be missed. The link must be open."""
        self._link.subscribe(subjects.SESSION_EVENTS_ALL, lambda subject, reply, headers, data: notify())

    async def state(self) -> LogState:
        """The state of the log. Creates the stream if it is missing, and sets its limits."""
        if not self._link.is_connected:  # otherwise the request would wait for its timeout
            raise LogAway("NATS: not connected")
        try:
            found = await ensure_stream(self._link, self._config, room_setting="sessions.log_max_bytes")
        except (NatsAway, NatsRefused) as error:
            raise LogAway(f"NATS: {error}") from error
        return LogState(found.epoch, found.first, found.last)

    async def found(self) -> tuple[LogState, int] | None:
        """The log as it is, and when its first message was stored (Unix milliseconds, 0 if it is empty); None if there
        is no stream. Changes nothing."""
        try:
            state = await stream_state(self._link, subjects.SESSIONS_STREAM)
            if state is None:
                return None
            messages, _ = await read_stream(self._link, subjects.SESSIONS_STREAM, 1, 1)
        except NatsAway as error:
            raise LogAway(f"NATS: {error}") from error
        first_at = int(messages[0].stored_at * 1000) if messages else 0
        return LogState(state.epoch, messages[0].sequence if messages else state.last + 1, state.last), first_at

    async def waiting_after(self, sequence: int) -> Waiting:
        """The batches after the message `sequence`. Changes nothing, and creates no stream."""
        try:
            found = await stream_state(self._link, subjects.SESSIONS_STREAM)
            if found is None or found.last <= sequence or found.last < found.first:
                return Waiting(0, 0.0)
            (oldest, *_), _ = await read_stream(self._link, subjects.SESSIONS_STREAM, sequence + 1, 1)
        except NatsAway as error:
            raise LogAway(f"NATS: {error}") from error
        except ValueError:  # the stream dropped the newest message meanwhile, because of its age
            return Waiting(0, 0.0)
        age = seconds_of(found.answered_at) - oldest.stored_at
        return Waiting(found.last - max(sequence, found.first - 1), max(0.0, age))

    async def renew(self) -> LogState:
        """Gives the log a new epoch, after it was rolled back: its sequences are reused."""
        try:
            found = await renew_epoch(self._link, subjects.SESSIONS_STREAM)
        except NatsAway as error:
            raise LogAway(f"NATS: {error}") from error
        return LogState(found.epoch, found.first, found.last)

    async def read(self, start: int) -> LogPage:
        """At most `MAX_MESSAGES` messages from sequence `start` on, up to the first one of a newer version.

        Raises `LogNewer` if the very first message is of a newer version.
        """
        try:
            messages, left = await read_stream(
                self._link,
                subjects.SESSIONS_STREAM,
                start,
                MAX_MESSAGES,
                max_bytes=self._page_bytes,
                timeout_s=_READ_S,
            )
        except NatsAway as error:
            raise LogAway(f"NATS: {error}") from error
        entries: list[Entry] = []
        upto = start - 1
        for message in messages:
            try:
                read = read_message(message.data)
            except NewerBatch as newer:
                if entries:
                    return LogPage(entries, upto, False)
                what = f"message {message.sequence} of the session log is of a newer version"
                raise LogNewer(f"{what} ({newer}): upgrade this service") from newer
            writer = subjects.writer_of(message.subject.decode(errors="replace"))
            entries.append(Entry(message.sequence, message.data, writer, *read, int(message.stored_at * 1000)))
            upto = message.sequence
            await asyncio.sleep(0)  # others have their turn
        return LogPage(entries, upto, left > 0)

    async def append(self, batch: EventBatch) -> None:
        """Stores a batch. A batch that is appended twice is stored once."""
        headers = header_block(Nats_Msg_Id=batch.message_id)
        try:
            await store(self._link, subjects.session_events(batch.instance), encode_batch(batch), headers)
        except (NatsAway, NatsRefused) as error:
            raise LogAway(f"NATS: {error}") from error
