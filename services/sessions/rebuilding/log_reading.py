"""Reads one epoch of the session log up to a sequence: from the archive where it has a message, else from the
stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from proto.events_reading import NewerBatch, Unreadable, read_message
from services.sessions.entries import Entry
from services.sessions.log_archive_postgres import ArchivedMessage
from services.sessions.log_nats import LogNewer, LogPage

PAGE: Final = 256
"""Archived messages in one read: 64 MiB if all are as large as possible."""


class Archive(Protocol):
    """The part of `LogArchive` that is needed here."""

    async def page(self, epoch: str, first: int, last: int, limit: int) -> list[ArchivedMessage]:
        """At most `limit` messages of an epoch with sequences from `first` to `last` (inclusive), in order."""


class Stream(Protocol):
    """The part of `log_nats.SessionLog` that is needed here."""

    async def read(self, start: int) -> LogPage:
        """A bounded number of messages from sequence `start` on."""


class LetterWaits(Exception):
    """A dead letter has facts that this version can read, but that are not in the live tables."""


class LogReading:
    """The messages of `epoch` up to the sequence `upto`; `stream` is None if the stream has another epoch now.

    A rewritten message is only in the archive, or in both for a while: the archive takes precedence. `set_aside` has
    the sizes of dead letters, by sequence: their messages, whose facts are not in the live tables, are read as
    unreadable.
    """

    def __init__(
        self, archive: Archive, stream: Stream | None, epoch: str, upto: int, set_aside: Mapping[int, int]
    ) -> None:
        self._archive = archive
        self._stream = stream
        self._epoch = epoch
        self._upto = upto
        self._set_aside = set_aside

    async def read(self, start: int) -> LogPage:
        """The next messages from `start` on, and the sequence up to which these are all messages.

        Raises `StoreAway`, `LogAway`, `LetterWaits`, and `LogNewer` for facts of a newer version.
        """
        archived = await self._archive.page(self._epoch, start, self._upto, PAGE)
        upto, found = self._upto, dict[int, Entry]()
        is_all = len(archived) == PAGE and archived[-1].sequence - start == PAGE - 1
        if self._stream is not None and not is_all:
            page = await self._stream.read(start)
            if page.upto >= start:
                upto = min(upto, page.upto)
            found = {entry.sequence: entry for entry in page.entries}
            # An erasure rewrites a message into the archive, and then deletes it from the stream: read in the other
            # order, a message that is rewritten meanwhile is in one of the two.
            archived = await self._archive.page(self._epoch, start, self._upto, PAGE)
        if len(archived) == PAGE:
            upto = min(upto, archived[-1].sequence)
        found = {sequence: entry for sequence, entry in found.items() if sequence <= upto}
        found |= {message.sequence: self._entry(message) for message in archived if message.sequence <= upto}
        entries = [found[sequence] for sequence in sorted(found)]
        return LogPage([self._as_folded(entry) for entry in entries], upto, upto < self._upto)

    def _entry(self, message: ArchivedMessage) -> Entry:
        try:
            read = read_message(message.data)
        except NewerBatch as newer:
            what = f"message {message.sequence} of the archive is of a newer version ({newer})"
            raise LogNewer(f"{what}: upgrade this service") from newer
        return Entry(message.sequence, message.data, message.writer, *read, message.stored_at)

    def _as_folded(self, entry: Entry) -> Entry:
        """The message as the live tables have it: without facts, if it was set aside as a whole."""
        size = self._set_aside.get(entry.sequence)
        if size is None or entry.batch is None:
            return entry
        if size != len(entry.data):
            if entry.unreadable is None:
                what = f"the dead letter of message {entry.sequence} has facts that this version can read"
                raise LetterWaits(f"{what}: first give `dead-letters replay all` in place of this command")
            return entry
        reason = "it is a dead letter of the live tables"
        return entry._replace(batch=None, unreadable=Unreadable(entry.data, reason))
