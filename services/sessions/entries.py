"""The messages of the session log on their way into the store, and dead letters, the messages that are set aside.
Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from proto.events import EventBatch
from proto.events_reading import Unreadable
from services.sessions.values import name_of, text

MAX_LETTERS: Final = 4096
"""Dead letters that are kept. Beyond this number the oldest are removed."""

MAX_NEWER_LETTERS: Final = 1024
"""How many of them may consist of facts that a newer version may be able to read. While there are that many, further
ones are not kept, and so push out no other letter: edges that are newer than this service may write such a fact into
every message."""

MAX_LETTER_BYTES: Final = 256 * 1024
"""Bytes that are kept of each letter, as many as an edge puts into one message. All letters together take no more than
the log does by default, 1 GiB."""


class Entry(NamedTuple):
    """A message of the log: its sequence, its bytes, and the process on whose subject it is; then what was read from
    it, as in `proto.events_reading`; and when NATS stored it, in Unix milliseconds."""

    sequence: int
    data: bytes
    writer: str
    batch: EventBatch | None
    unreadable: Unreadable | None = None
    unknown: tuple[str, ...] = ()
    stored_at: int = 0


class DeadLetter(NamedTuple):
    """A message of the log, or a batch of some of its facts, that could not be folded.

    `epoch` and `sequence` say where in the log it was, `instance` who wrote it. `data` has the first `MAX_LETTER_BYTES`
    of its `size` bytes. `put_aside_at` is in Unix milliseconds, 0 until it is stored. `newer`: it consists of facts
    that a newer version may be able to read.
    """

    epoch: str
    sequence: int
    instance: str
    reason: str
    data: bytes
    size: int
    put_aside_at: int = 0
    newer: bool = False


def letter(epoch: str, entry: Entry, refused: Unreadable) -> DeadLetter:
    """The dead letter of a message whose part `refused` could not be folded."""
    instance = entry.writer if entry.batch is None else entry.batch.instance
    kept = refused.data[:MAX_LETTER_BYTES]
    reason, size = storable(refused.reason), len(refused.data)
    return DeadLetter(epoch, entry.sequence, name_of(instance), reason, kept, size, newer=refused.newer)


def with_room(letters: Sequence[DeadLetter], newer_already: int) -> list[DeadLetter]:
    """The `letters` to keep, if `newer_already` letters with facts that a newer version may read are stored already."""
    room = max(0, MAX_NEWER_LETTERS - newer_already)
    first = {one.sequence for one in [each for each in letters if each.newer][:room]}
    return [one for one in letters if not one.newer or one.sequence in first]


def storable(reason: str) -> str:
    """A reason as PostgreSQL can store it: of bounded length, without NUL or half of a character."""
    return text(reason.encode("utf-8", "replace").decode())
