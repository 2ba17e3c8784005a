"""The session log on JetStream, as its reader and as the writer of the few facts that are written here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from proto import subjects
from proto.events import EVENTS_VERSION, LOG_DUPLICATE_WINDOW_S, EventBatch, decode_batch, encode_batch
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, header_block
from services.chassis.nats.streams import ensure_stream, read_stream, renew_epoch, store, stream_config

log = logging.getLogger(__name__)

MAX_MESSAGES: Final = 256
"""Stream messages in one read: at an edge's largest batches some 25 MB."""


class LogAway(Exception):
    """The log cannot be reached now. Trying again may succeed."""


class LogNewer(Exception):
    """The log holds facts of a newer version of the contract: to skip them would lose them."""


class LogState(NamedTuple):
    epoch: str
    first: int
    last: int


class LogPage(NamedTuple):
    """What a read gave: the batches with their sequences, up to and including `upto`, and whether more follow."""

    batches: list[tuple[int, EventBatch]]
    upto: int
    rejected: int  # messages that are no batch of facts, left out
    more: bool


class SessionLog:
    """Every method raises `LogAway`. `max_age_s` is the stream's retention in seconds."""

    def __init__(self, link: NatsLink, max_age_s: float) -> None:
        self._link = link
        self._config = stream_config(
            subjects.SESSIONS_STREAM, subjects.SESSION_EVENTS_ALL, max_age_s, LOG_DUPLICATE_WINDOW_S
        )

    def on_written(self, notify: Callable[[], None]) -> None:
        """Calls `notify` whenever somebody writes to the log; a hint, not a promise. After the link is open."""
        self._link.subscribe(subjects.SESSION_EVENTS_ALL, lambda subject, reply, headers, data: notify())

    async def state(self) -> LogState:
        """Where the log begins and ends; it is made if it is missing, and its limits are set."""
        if not self._link.is_connected:  # or the question would wait for its timeout
            raise LogAway("NATS: not connected")
        try:
            found = await ensure_stream(self._link, self._config)
        except (NatsAway, NatsRefused) as error:
            raise LogAway(f"NATS: {error}") from error
        return LogState(found.epoch, found.first, found.last)

    async def renew(self) -> LogState:
        """Gives the log a new epoch: it was rolled back, and its sequences are used again."""
        try:
            found = await renew_epoch(self._link, subjects.SESSIONS_STREAM)
        except NatsAway as error:
            raise LogAway(f"NATS: {error}") from error
        return LogState(found.epoch, found.first, found.last)

    async def read(self, start: int) -> LogPage:
        """A bounded number of batches from sequence `start` on. Raises `LogNewer` too, when the first one is newer."""
        try:
            messages, more = await read_stream(self._link, subjects.SESSIONS_STREAM, start, MAX_MESSAGES)
        except NatsAway as error:
            raise LogAway(f"NATS: {error}") from error
        batches: list[tuple[int, EventBatch]] = []
        rejected = 0
        upto = start - 1
        for message in messages:
            try:
                batch = decode_batch(message.data)
            except (msgspec.DecodeError, RecursionError) as error:
                if _version(message.data) > EVENTS_VERSION:
                    return self._before_newer(LogPage(batches, upto, rejected, False), message.sequence)
                log.error("message %d of the session log holds no facts and is left out: %s", message.sequence, error)
                rejected += 1
            else:
                if batch.version > EVENTS_VERSION:
                    return self._before_newer(LogPage(batches, upto, rejected, False), message.sequence)
                batches.append((message.sequence, batch))
            upto = message.sequence
        return LogPage(batches, upto, rejected, more)

    @staticmethod
    def _before_newer(page: LogPage, sequence: int) -> LogPage:
        if page.batches or page.rejected:
            return page
        raise LogNewer(f"message {sequence} of the session log was written by a newer version: run that one here too")

    async def append(self, batch: EventBatch) -> None:
        """Stores facts; the same batch again is stored once."""
        headers = header_block(Nats_Msg_Id=batch.message_id)
        try:
            await store(self._link, subjects.session_events(batch.instance), encode_batch(batch), headers)
        except (NatsAway, NatsRefused) as error:
            raise LogAway(f"NATS: {error}") from error


class _Version(msgspec.Struct):
    version: int = 0


def _version(data: bytes) -> int:
    try:
        return msgspec.json.decode(data, type=_Version).version
    except (msgspec.DecodeError, RecursionError):
        return 0
