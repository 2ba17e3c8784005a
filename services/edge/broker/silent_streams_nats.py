"""Finds out why a publish was not stored in time: some streams answer, but do not acknowledge publishes.

nats-server 2.15 does not answer a publish that it cannot write to its disk; it logs the error, and still answers
questions about the stream. So after a publish without an acknowledgement the stream is asked for its state. If it
answers for a while (`SURE_S`), and acknowledges nothing, later publishes fail with the cause "storage", until one is
acknowledged. It takes a while to be sure: a server that is only slow answers questions, too. So does a leader in a
cluster that has lost the majority, for 16 s; after that the stream answers without a leader. But there the answer says
how long the leader has not heard from the replicas.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.streams import stream_state
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import FailureCause

SURE_S: Final = 12.0
"""How long a stream must answer without acknowledging a publish."""


class SilentStreams:
    """By stream. At most one question about each is in progress."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._tasks = Tasks()
        self._asked: set[str] = set()
        self._silent: set[str] = set()
        self._answered_at: dict[str, float] = {}  # the first answer since the last acknowledgement

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
        """Cancels the questions in progress."""
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
