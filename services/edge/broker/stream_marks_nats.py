"""Marks: how far edges have seen each log's stream. They are kept outside of the stream, to notice that it fell back.

Once a second an edge marks how far each stream that has moved on has come, together with the time at which NATS stored
its last message: if the stream is rolled back and grows past the mark again, the message there has another time.
Running edges hear the marks; an edge that starts reads the last mark of each stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.stream_reads import read_stream

log = logging.getLogger(__name__)

_PAGE: Final = 256
MAX_BYTES: Final = 4 * 1024 * 1024
_WINDOW_S: Final = 1.0
_PAST: Final = 32


class Mark(NamedTuple):
    """A stream in this `epoch` has reached `sequence`. Its message `timed` was stored `at`; "" if no time is known.

    `past`: the epochs that the stream had before.
    """

    epoch: str
    sequence: int
    timed: int = 0
    at: str = ""
    past: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The body of the message that marks the stream."""
        return "\n".join([self.epoch, str(self.sequence), str(self.timed), self.at, *self.past]).encode()

    @staticmethod
    def decode(data: bytes) -> Mark | None:
        """None if it is not a mark."""
        epoch, *rest = data.decode(errors="replace").split("\n")
        if len(rest) < 3 or not (rest[0].isdecimal() and rest[1].isdecimal()):
            return None
        return Mark(epoch, int(rest[0]), int(rest[1]), rest[2], tuple(rest[3:]))


class StreamMarks:
    """The newest mark of each stream. `on_mark(stream, mark)` is called for marks of other edges."""

    def __init__(self, link: NatsLink, on_mark: Callable[[str, Mark], None]) -> None:
        self._link = link
        self._on_mark = on_mark
        self._marks: dict[str, Mark] = {}
        self._listens = False

    async def start(self) -> None:
        """Makes the stream of marks if it is missing, and reads it. Raises `NatsAway`, `NatsRefused`."""
        config = stream_config(
            subjects.MARKS_STREAM,
            subjects.MARKS_ALL,
            0,
            _WINDOW_S,
            max_msgs_per_subject=1,
            max_bytes=MAX_BYTES,
        )
        await ensure_stream(self._link, config)
        if not self._listens:
            self._listens = True
            self._link.subscribe(subjects.MARKS_ALL, self._hear)
        start, left = 1, 1
        while left:
            messages, left = await read_stream(self._link, subjects.MARKS_STREAM, start, _PAGE)
            for message in messages:
                self._take(message.subject, message.data)
                start = message.sequence + 1

    def get(self, stream: str) -> Mark | None:
        """The newest mark of a stream."""
        return self._marks.get(stream)

    def set(self, stream: str, epoch: str, sequence: int, at: str = "") -> None:
        """Marks that a stream has come to `sequence`, unless there is such a mark already.

        `at` is the time of that message. Without it the mark keeps the time of an earlier one. Nothing is marked while
        NATS is unavailable.
        """
        known = self._marks.get(stream) or Mark(epoch, 0)
        past = known.past if known.epoch == epoch else (known.epoch, *known.past)[:_PAST]
        timed, known_at = (known.timed, known.at) if known.epoch == epoch else (0, "")
        mark = Mark(epoch, sequence, sequence if at else timed, at or known_at, past)
        if known.epoch == epoch and mark <= known:
            return
        self._marks[stream] = mark
        try:
            self._link.publish(subjects.stream_mark(stream), mark.encode())
        except (NatsAway, NatsRefused) as error:
            log.debug("stream %s is not marked: %s", stream, error)

    def _hear(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        taken = self._take(subject, data)
        if taken is not None:
            self._on_mark(*taken)

    def _take(self, subject: bytes, data: bytes) -> tuple[str, Mark] | None:
        stream, mark = subjects.marked_stream(subject.decode(errors="replace")), Mark.decode(data)
        known = self._marks.get(stream)
        if mark is None or mark == known:
            return None
        if known is not None and (mark.epoch in known.past or (mark.epoch == known.epoch and mark < known)):
            return None  # from an edge that has not noticed the newer mark yet
        self._marks[stream] = mark
        return stream, mark
