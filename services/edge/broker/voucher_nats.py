"""Answers edges that start and ask whether a log continues, if this edge knows (see `vouching_nats`)."""

from __future__ import annotations

import logging

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.process.tasks import Tasks
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.broker.vouching_nats import asked

log = logging.getLogger(__name__)


class Voucher:
    """Answers for the streams that this edge knows, from `start` on: an edge that is still starting knows nothing."""

    def __init__(self, link: NatsLink, streams: LogStreams) -> None:
        self._link = link
        self._streams = streams
        self._tasks = Tasks()

    def start(self) -> None:
        """Answers from now on."""
        self._link.subscribe(subjects.VOUCH, self._hear)

    def stop(self) -> None:
        """Cancels answers in progress."""
        self._tasks.cancel()

    def _hear(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        question = asked(data)
        if question is not None and reply and self._streams.known.epoch(question[0]) == question[1]:
            self._tasks.start(self._answer(*question, reply.decode(errors="replace")))

    async def _answer(self, stream: str, epoch: str, leader: str, reply: str) -> None:
        known, guard = self._streams.known, self._streams.guard
        try:
            if not guard.vouches(stream, known.state(stream), epoch, leader):
                await self._streams.fresh_state(stream)
            if guard.vouches(stream, known.state(stream), epoch, leader) and not known.in_doubt(stream):
                self._link.publish(reply, b"")
        except (NatsAway, NatsRefused) as error:
            log.debug("cannot find out whether stream %s continues: %s", stream, error)
