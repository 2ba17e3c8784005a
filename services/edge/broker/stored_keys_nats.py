"""Idempotency keys of channels with history, remembered for as long as promised.

JetStream itself remembers the message ids of a stream. When NATS starts, it rebuilds this memory from the messages that
it still has, and so forgets the id of a publication that later ones of its channel have pushed out. So a key and its
position are also stored in the stream `KEYS`. Keys are looked up there while JetStream may have forgotten some: until
NATS has run for as long as a key is remembered. In a cluster any server may just have started, so keys are always
looked up.
"""

from __future__ import annotations

import asyncio
import math

from proto import subjects
from proto.messages import StreamPosition
from services.chassis.nats.link import NatsLink, header_block
from services.chassis.nats.stream_reads import read_last
from services.edge.broker.broker import MAX_DUPLICATE_WINDOW_S


class StoredKeys:
    """Which keys are stored, and what to store for one."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._server = ""
        self._since = math.inf

    def connected(self) -> None:
        """The link is connected, perhaps to a server that was started just now."""
        if self._link.server_id != self._server:
            self._server, self._since = self._link.server_id, asyncio.get_running_loop().time()

    def may_be_forgotten(self, window_s: float) -> bool:
        """Whether JetStream may have forgotten keys that are to be remembered for `window_s`."""
        return self._link.in_cluster or asyncio.get_running_loop().time() - self._since <= window_s

    async def find(self, stream: str, message_id: str, timeout_s: float) -> StreamPosition | None:
        """The position at which a key was stored. Raises `NatsAway`."""
        found = await read_last(self._link, subjects.KEYS_STREAM, subjects.stored_key(stream, message_id), timeout_s)
        sequence, _, rest = ("" if found is None else found.data.decode(errors="replace")).partition(" ")
        epoch, _, key = rest.partition(" ")
        return StreamPosition(int(sequence), epoch) if key == message_id and sequence.isdecimal() else None

    @staticmethod
    def record(stream: str, message_id: str, at: StreamPosition, window_s: float) -> tuple[str, bytes, bytes | None]:
        """What to store for a key: subject, body and headers."""
        headers = header_block(Nats_TTL=f"{math.ceil(window_s)}s") if window_s < MAX_DUPLICATE_WINDOW_S else None
        return subjects.stored_key(stream, message_id), f"{at.offset} {at.epoch} {message_id}".encode(), headers
