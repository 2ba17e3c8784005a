"""The stream of the session log: finds the messages about a user, and removes the facts about the user from them.

A message is first written into the archive without these facts, under its epoch and sequence, where it replaces the one
in the stream; then the message in the stream is deleted and overwritten. A crash in between loses nothing, and another
erasure finishes the work. The newest messages are first, so that a fact is removed before the one that tells whose it
is.
"""

from __future__ import annotations

import uuid
from array import array
from collections.abc import AsyncIterator
from typing import Final

from proto import subjects
from proto.events import Erased, EventBatch, encode_batch
from services.chassis.nats.consumers import Consumer, durable_consumers
from services.chassis.nats.erasing import erase, message_at
from services.chassis.nats.link import NatsAway, NatsLink, header_block
from services.chassis.nats.stream_reads import StoredMessage, read_stream
from services.chassis.nats.streams import StreamState, store, stream_state
from services.sessions.privacy.archive_postgres import Archive
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Progress
from services.sessions.privacy.rewriting import Connections

_STREAM: Final = subjects.SESSIONS_STREAM
_PAGE: Final = 256
_STEP: Final = "session log"


class LogOfPerson:
    """Every method raises `NatsAway`, `NatsRefused`; `erase` also `StoreAway`."""

    def __init__(self, link: NatsLink, archive: Archive, progress: Progress) -> None:
        self._link = link
        self._archive = archive
        self._progress = progress

    async def state(self) -> StreamState:
        """The state of the stream."""
        found = await stream_state(self._link, _STREAM)
        if found is None:
            raise NatsAway("there is no session log yet: no edge and no sessions service has been started")
        return found

    async def search(self, about: Connections, after: int, upto: int) -> array[int]:
        """The sequences of the messages about the user, after `after` and up to `upto`. `about` learns of
        connections."""
        messages = self.messages(after, upto)
        return array("Q", [one.sequence async for one in messages if about.rewritten(one.data) is not None])

    async def messages(self, after: int = 0, upto: int = 0) -> AsyncIterator[StoredMessage]:
        """The messages after `after` and up to `upto`, or up to the last."""
        upto = upto or (await self.state()).last
        left = 1
        while left and after < upto:
            messages, left = await read_stream(self._link, _STREAM, after + 1, _PAGE)
            for message in messages:
                if message.sequence <= upto:
                    yield message
            after = messages[-1].sequence if messages else upto
            self._progress(_STEP, min(after, upto), upto)

    async def consumers_before(self, sequence: int) -> list[Consumer]:
        """The durable consumers that have not acknowledged the log up to this message: they would never get the facts
        about others that a rewritten message has."""
        return [each for each in await durable_consumers(self._link, _STREAM) if not each.has_read(sequence)]

    async def erase(self, about: Connections, epoch: str, sequences: array[int]) -> int:
        """Removes the facts about the user from these messages, the newest first. Returns how many facts that were."""
        removed = 0
        for done, sequence in enumerate(reversed(sequences), 1):
            message = await message_at(self._link, _STREAM, sequence)
            rewritten = None if message is None else about.rewritten(message.data)
            if message is None or rewritten is None:
                continue
            if rewritten.data is not None:
                writer = subjects.writer_of(message.subject.decode(errors="replace"))
                stored_at = int(message.stored_at * 1000)
                await self._archive.put(epoch, sequence, stored_at, writer, rewritten.data)
            await erase(self._link, _STREAM, sequence)
            removed += rewritten.removed
            self._progress(_STEP, done, len(sequences))
        return removed

    async def append(self, person: Person, at: int) -> int:
        """Writes that the user is erased, as of `at` in Unix milliseconds. Returns the sequence of that fact."""
        writer = f"privacy-{uuid.uuid4().hex}"
        batch = EventBatch(edge="privacy", instance=writer, number=1, events=[Erased(at, person.digest)])
        headers = header_block(Nats_Msg_Id=batch.message_id)
        return (await store(self._link, subjects.session_events(writer), encode_batch(batch), headers)).sequence
