"""Streams that answer, but do not acknowledge what they are to store: why a publish was not stored in time.

nats-server 2.15 does not answer a publish that it cannot write to its disk, be it full or broken; it logs the error,
and goes on to answer questions about the stream. So after a publish without an acknowledgement the stream is asked for
its state. If it answers, the publishes that follow fail for lack of storage, until one is acknowledged.
"""

from __future__ import annotations

from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.streams import stream_state
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import FailureCause


class SilentStreams:
    """By stream. At most one question about each is in progress."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._tasks = Tasks()
        self._asked: set[str] = set()
        self._silent: set[str] = set()

    def why(self, stream: str) -> FailureCause:
        """Why a publish to this stream was not acknowledged in time, as far as is known now."""
        if stream in self._silent:
            return "storage"
        if stream not in self._asked:
            self._asked.add(stream)
            self._tasks.start(self._ask(stream))
        return "timeout"

    def stored(self, stream: str) -> None:
        """The stream has acknowledged a publish."""
        if self._silent:
            self._silent.discard(stream)

    def stop(self) -> None:
        """Asks no more."""
        self._tasks.cancel()

    async def _ask(self, stream: str) -> None:
        try:
            if await stream_state(self._link, stream) is not None:
                self._silent.add(stream)
        except (NatsAway, NatsRefused):
            pass  # NATS as a whole does not answer
        finally:
            self._asked.discard(stream)
