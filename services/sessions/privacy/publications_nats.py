"""The histories of channels: finds the publications of a user and their entries in the indexes, and deletes them.

A deleted publication leaves no trace: a client that comes back from before it would be told that it missed nothing. So
the channel first gets a mark, like that of `history_remove`: a client from before the mark gets `recovered: false`.
Publications of others stay, and are read as before. docs/decisions/0043-erasure-rewrites-the-log.md has the reasons.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from proto import subjects
from proto.publications import MESSAGE_ID, encode_removal, publisher_of, removed_upto, version_of
from services.chassis.nats.erasing import erase
from services.chassis.nats.following import followed, last_followed, read_followed, stream_names
from services.chassis.nats.link import NatsLink, header
from services.chassis.nats.stream_reads import StoredMessage, read_last, read_stream
from services.chassis.nats.streams import WrongSequence, expect_last, purge, store, stream_state
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Progress

_PAGE: Final = 256
_ID: Final = MESSAGE_ID.encode()
_INDEX_S: Final = 2.0
"""How long an index may take to read what was just stored. An index of a void epoch never does."""
_WAIT_S: Final = 0.02
_EVERYTHING: Final = ">"


@dataclass(slots=True)
class Found:
    """The user's messages in one log, which keeps `limit` messages of a channel: their sequences in the log, their
    numbers in each of its indexes; and by subject the newest sequence that is or was the user's. `at` is the log's last
    sequence when it was read."""

    stream: str
    limit: int
    at: int
    log: array[int] = field(default_factory=lambda: array("Q"))
    indexes: dict[str, array[int]] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)

    def note(self, subject: str, sequence: int) -> None:
        """Notes an entry of the user."""
        self.newest[subject] = max(sequence, self.newest.get(subject, 0))


class Publications:
    """Every method raises `NatsAway`, `NatsRefused`."""

    def __init__(self, link: NatsLink, person: Person, progress: Progress) -> None:
        self._link = link
        self._person = person
        self._progress = progress
        self._searched: dict[str, int] = {}  # by log or index: up to which sequence

    async def streams(self) -> list[str]:
        """The logs of the channels."""
        return sorted(await stream_names(self._link, subjects.LOGS))

    async def search(self) -> list[Found]:
        """The user's messages that came since this was called last, by log."""
        found = [await self._search(stream) for stream in await self.streams()]
        return [each for each in found if each.log or any(each.indexes.values())]

    async def _search(self, stream: str) -> Found:
        state = await stream_state(self._link, stream)
        found = Found(stream, 0, 0) if state is None else Found(stream, state.limit, state.last)
        async for message in self._new(stream, found.at):
            found.log.append(message.sequence)
            found.note(message.subject.decode(errors="replace"), message.sequence)
        prefix = subjects.index_of(stream, "")
        for index in await stream_names(self._link, prefix):
            if "_" in index.removeprefix(prefix):
                continue  # an index of another class, whose name is longer
            numbers = found.indexes[index] = array("Q")
            state = await stream_state(self._link, index)
            async for message in self._new(index, 0 if state is None else state.last):
                numbers.append(message.sequence)
                found.note(message.subject.decode(errors="replace"), followed(message).sequence)
        return found

    async def _new(self, stream: str, upto: int) -> AsyncIterator[StoredMessage]:
        """The user's messages in a log or an index up to a sequence, after those that were searched before."""
        after = self._searched.get(stream, 0)
        async for message in self._of_the_user(stream, after, upto):
            yield message
        self._searched[stream] = max(after, upto)

    async def of_the_user(self, stream: str) -> AsyncIterator[StoredMessage]:
        """The messages of a log or an index that the user published, or that are in a channel of the user."""
        state = await stream_state(self._link, stream)
        async for message in self._of_the_user(stream, 0, 0 if state is None else state.last):
            yield message

    async def _of_the_user(self, stream: str, after: int, upto: int) -> AsyncIterator[StoredMessage]:
        left = 1
        while left and after < upto:
            messages, left = await read_stream(self._link, stream, after + 1, _PAGE)
            for message in messages:
                if message.sequence <= upto and self._is_of_the_user(message):
                    yield message
            after = messages[-1].sequence if messages else upto
            self._progress(stream, min(after, upto), upto)

    def _is_of_the_user(self, message: StoredMessage) -> bool:
        person, headers = self._person, message.headers
        if person.has_id(publisher_of(headers)) or self._owns(message.subject.decode(errors="replace")):
            return True
        return person.gave_key((header(headers, _ID) or b"").decode(errors="replace"))

    def _owns(self, subject: str) -> bool:
        return self._person.owns(subjects.channel_of(subject))

    async def erase(self, found: Found) -> None:
        """Deletes the user's messages in a log, once no client can take their absence as proof that it missed
        nothing."""
        marked = 0
        alone: list[str] = []  # subjects for which the log holds only one publication of another user
        for subject, newest in found.newest.items():
            # In a channel of the user alone nobody else could recover, and the mark itself would name the user.
            if not self._owns(subject):
                at = await self._mark(found, subject, newest)
                marked = max(marked, at)
                if not at:
                    alone.append(subject)
        if marked <= found.at:  # the newest message may be deleted only once there is a newer one: edges compare it
            check = subjects.store_check(found.stream)
            marked = (await store(self._link, check, b"", None)).sequence
        for index in found.indexes:
            await self._await_index(index, marked)
        for sequence in found.log:
            await erase(self._link, found.stream, sequence)
            self._progress(found.stream, sequence, found.log[-1])
        for index, numbers in found.indexes.items():
            for number in numbers:
                await erase(self._link, index, number)
            for subject in alone:
                await self._forget_before(index, subject, found.newest[subject])

    async def _mark(self, found: Found, subject: str, upto: int) -> int:
        """Marks a channel in which a message up to the sequence `upto` will be missing. Returns the sequence of the
        mark; 0 if there must be no mark, as it would take the only place that the log has for the channel."""
        while True:
            newest = await read_last(self._link, found.stream, subject)
            if newest is not None and removed_upto(newest.headers) >= upto:
                return newest.sequence  # an erasure before this one was interrupted
            if newest is not None and found.limit == 1 and newest.sequence not in found.log:
                return 0
            last = 0 if newest is None else newest.sequence
            version = None if newest is None else version_of(newest.headers)
            mark = expect_last(encode_removal(max(last, upto), version), last)
            try:
                return (await store(self._link, subject, b"", mark)).sequence
            except WrongSequence:
                continue

    async def _await_index(self, index: str, upto: int) -> None:
        """Waits until the index has read the log up to there: without its newest entry it would seem to be behind."""
        until = asyncio.get_running_loop().time() + _INDEX_S
        while asyncio.get_running_loop().time() < until:
            newest = await last_followed(self._link, index)
            if newest is not None and newest.sequence >= upto:
                return
            await asyncio.sleep(_WAIT_S)

    async def _forget_before(self, index: str, subject: str, erased: int) -> None:
        """Removes all entries of the index from before the newest entry of the channel, if the erased entry was just
        before that one: otherwise the index would prove that there was nothing in between."""
        newest = await last_followed(self._link, index, subject)
        if newest is None or newest.sequence < erased:
            return
        entries, _ = await read_followed(self._link, index, _PAGE, subject)  # it keeps 128 of such a channel
        entries = [entry for entry in entries if entry.sequence > erased]
        if entries and entries[0].number == newest.number:
            await purge(self._link, index, _EVERYTHING, newest.number)
