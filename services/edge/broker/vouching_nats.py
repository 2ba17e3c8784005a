"""Edges vouch that a stream continues under another leader, or after a start of NATS (see `rollback_nats`).

An edge that vouches uses the stream at once, and records the leader in the stream's metadata in the background: after
the loss of a server, that may have to wait for two more elections, of JetStream's leader and of the leader of the
stream of marks. Until it is recorded, an edge that starts asks the running edges. They answer if they have compared the
stream with what they know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.streams import StreamState
from services.chassis.process.tasks import Tasks

log = logging.getLogger(__name__)

ANSWER_S: Final = 2.0
"""How long an edge that starts waits for another to vouch. If nobody listens, NATS says so at once."""
_AGAIN_S: Final = 0.5
_LONGEST_S: Final = 30.0

Record = Callable[[str, StreamState, str], Awaitable[object]]


class Vouching:
    """`record(stream, state, leader)` writes into the stream's metadata that its epoch continues under this leader."""

    def __init__(self, link: NatsLink, record: Record) -> None:
        self._link = link
        self._record = record
        self._vouched: dict[str, tuple[str, str]] = {}  # by stream: its epoch and leader
        self._tasks = Tasks()

    def has(self, stream: str, epoch: str, leader: str) -> bool:
        """Whether this edge vouches for an epoch under that leader."""
        return self._vouched.get(stream) == (epoch, leader)

    def vouch(self, stream: str, state: StreamState, leader: str) -> None:
        """The stream continues under this leader: records that, trying until it succeeds or the stream has another
        leader."""
        if not self.has(stream, state.epoch, leader):
            self._vouched[stream] = (state.epoch, leader)
            self._tasks.start(self._recorded(stream, state, leader))

    async def _recorded(self, stream: str, state: StreamState, leader: str) -> None:
        wait_s = _AGAIN_S
        while self.has(stream, state.epoch, leader):
            try:
                await self._record(stream, state, leader)
            except (NatsAway, NatsRefused) as error:
                log.debug("the leader of stream %s is not recorded yet, retrying: %s", stream, error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_S)
            else:
                return

    async def ask(self, stream: str, epoch: str, leader: str) -> bool:
        """Whether another edge vouches for it. Raises `NatsAway` if the connection drops meanwhile."""
        try:
            await self._link.request(subjects.VOUCH, question(stream, epoch, leader), timeout_s=ANSWER_S)
        except NatsAway as error:
            if not self._link.is_connected:
                raise
            log.debug("no edge vouches for stream %s: %s", stream, error)
            return False
        return True

    def forget(self, stream: str) -> None:
        """No longer vouches for this stream."""
        self._vouched.pop(stream, None)

    def stop(self) -> None:
        """Stops recording."""
        self._tasks.cancel()


def question(stream: str, epoch: str, leader: str) -> bytes:
    """Asks who vouches that this epoch of the stream continues under this leader. Only an edge that does so answers."""
    return f"{stream}\n{epoch}\n{leader}".encode()


def asked(data: bytes) -> tuple[str, str, str] | None:
    """The stream, epoch and leader of a question; None if the data is not a question."""
    match data.decode(errors="replace").split("\n"):
        case [stream, epoch, leader] if stream and epoch and leader:
            return stream, epoch, leader
    return None
