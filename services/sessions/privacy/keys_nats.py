"""Idempotency keys: edges make message ids of them, which contain the id of the user who gave the key."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from typing import Final

from proto import subjects
from proto.publications import MESSAGE_ID
from services.chassis.nats.erasing import erase
from services.chassis.nats.link import NatsLink, header
from services.chassis.nats.stream_reads import StoredMessage, read_stream
from services.chassis.nats.streams import stream_state
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Progress

_PAGE: Final = 256
_ID: Final = MESSAGE_ID.encode()


class Keys:
    """Every method raises `NatsAway`, `NatsRefused`."""

    def __init__(self, link: NatsLink, person: Person, progress: Progress) -> None:
        self._link = link
        self._person = person
        self._progress = progress
        self._searched = 0

    async def search(self) -> array[int]:
        """The sequences of the user's keys that came since this was called last."""
        after, upto = self._searched, await self._last()
        found = array("Q", [key.sequence async for key in self._of_the_user(after, upto)])
        self._searched = max(after, upto)
        return found

    async def of_the_user(self) -> AsyncIterator[StoredMessage]:
        """The user's keys."""
        async for key in self._of_the_user(0, await self._last()):
            yield key

    async def _last(self) -> int:
        state = await stream_state(self._link, subjects.KEYS_STREAM)
        return 0 if state is None else state.last

    async def _of_the_user(self, after: int, upto: int) -> AsyncIterator[StoredMessage]:
        left = 1
        while left and after < upto:
            messages, left = await read_stream(self._link, subjects.KEYS_STREAM, after + 1, _PAGE)
            for message in messages:
                if self._is_of_the_user(message):
                    yield message
            after = messages[-1].sequence if messages else upto
            self._progress("idempotency keys", min(after, upto), upto)

    def _is_of_the_user(self, message: StoredMessage) -> bool:
        """The key of a channel with history is in the body, behind its position; any other key is the message's own
        id."""
        stored = message.data.decode(errors="replace").rpartition(" ")[2]
        own = (header(message.headers, _ID) or b"").decode(errors="replace")
        person = self._person
        return any(person.gave_key(one) or person.is_of_his_channel(one) for one in (stored, own))

    async def erase(self, sequences: array[int]) -> None:
        """Deletes these keys. A publication that had one may be published again."""
        for sequence in sequences:
            await erase(self._link, subjects.KEYS_STREAM, sequence)
