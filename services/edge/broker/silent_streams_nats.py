"""Streams that answer, but do not acknowledge what they are to store: why a publish was not stored in time.

nats-server 2.15 does not answer a publish that it cannot write to its disk; it logs the error, and goes on to answer
questions about the stream. So after a publish without an acknowledgement the stream is asked for its state. If it has
answered for a while, and acknowledged nothing, the publishes that follow fail for lack of storage, until one is
acknowledged. It must be a while: a server that is only slow answers questions too. So does the leader in a cluster that
has lost the majority, for 16 s, and after that the stream answers without a leader; but then the answer says for how
long the leader has not heard of the replicas.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.streams import stream_state
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import FailureCause

SURE_S: Final = 12.0
"""The while."""


class SilentStreams:
    """By stream. At most one question about each is in progress."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._tasks = Tasks()
        self._asked: set[str] = set()
        self._silent: set[str] = set()
        self._answered_at: dict[str, float] = {}  # since the last acknowledgement, for the first time

    def why(self, stream: str) -> FailureCause:
        """Why a publish to this stream was not acknowledged in time, as far as is known now."""
        if stream not in self._asked:
            self._asked.add(stream)
            self._tasks.start(self._ask(stream))
        return "storage" if stream in self._silent else "timeout"

    def stored(self, stream: str) -> None:
        """The stream has acknowledged a publish."""
        if self._silent or self._answered_at:
            self._forget(stream)

    def stop(self) -> None:
        """Asks no more."""
        self._tasks.cancel()

    async def _ask(self, stream: str) -> None:
        try:
            state = await stream_state(self._link, stream)
        except (NatsAway, NatsRefused):
            return  # NATS as a whole does not answer
        finally:
            self._asked.discard(stream)
        if state is None or not state.has_majority:
            self._forget(stream)
            return
        now = asyncio.get_running_loop().time()
        if now - self._answered_at.setdefault(stream, now) >= SURE_S:
            self._silent.add(stream)

    def _forget(self, stream: str) -> None:
        self._silent.discard(stream)
        self._answered_at.pop(stream, None)
