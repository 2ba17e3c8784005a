"""Reading JetStream streams with its direct batch get: no consumer, no state on the server, and any replica answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from proto import subjects
from services.chassis.nats.headers import seconds_of
from services.chassis.nats.link import NatsAway, NatsLink, header, status

_API_TIMEOUT_S = 5.0
MULTI_LAST_SUBJECTS = 1000
"""Subjects in one call of `read_last_of`: the server's limit is 1024."""
READ_BYTES = 4 * 1024 * 1024
"""Bytes of one read of a stream. Without a limit the server sends everything that was asked for at once, and
disconnects a client when more than its max_pending (64 MB by default) waits to be sent."""


class StoredMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of a stream. `headers` is the raw header block, including the `Nats-*` fields."""

    sequence: int
    subject: bytes
    headers: bytes
    data: bytes

    @property
    def stored_at(self) -> float:
        """When NATS stored it: Unix time in seconds, 0 if unknown."""
        at = header(self.headers, b"Nats-Time-Stamp")
        return seconds_of(at.decode()) if at else 0.0


async def read_stream(
    link: NatsLink,
    stream: str,
    from_sequence: int,
    limit: int,
    subject: str = "",
    max_bytes: int = READ_BYTES,
    timeout_s: float = 5.0,
    since: float = 0.0,
) -> tuple[list[StoredMessage], int]:
    """Up to `limit` messages from `from_sequence` (inclusive) on, of one subject or of all, and how many follow.

    With `since`, Unix time in seconds, it starts at the first message that was stored then or later, instead of at
    `from_sequence`.

    Once the messages have `max_bytes`, no further one is read; the last one may go past that size, and at least one is
    read. Raises `NatsAway`, even if only a part of the reply is missing: a partial read never looks like a complete
    one.
    """
    start = {"start_time": datetime.fromtimestamp(since, UTC)} if since else {"seq": max(1, from_sequence)}
    query = msgspec.json.encode(
        {
            **start,
            "batch": limit,
            "max_bytes": max_bytes,
            "next_by_subj": subject or ">",
        }
    )
    replies = await link.request_many(subjects.direct_get(stream), query, _is_end, timeout_s=timeout_s)
    end = replies.pop()[0]
    if status(end) == 404:
        return [], 0
    if status(end) != 204:
        raise NatsAway(f"reading stream {stream}: {(end or b'')[9:80].decode(errors='replace').strip()}")
    return [_stored(headers, data) for headers, data in replies], int(header(end, b"Nats-Num-Pending") or 0)


async def read_last(
    link: NatsLink, stream: str, subject: str, timeout_s: float = _API_TIMEOUT_S
) -> StoredMessage | None:
    """The newest retained message of a subject, None if there is none. Raises `NatsAway`."""
    query = msgspec.json.encode({"last_by_subj": subject})
    headers, data = await link.request(subjects.direct_get(stream), query, timeout_s=timeout_s)
    if status(headers) == 404:
        return None
    if status(headers):
        raise NatsAway(f"reading stream {stream}: {(headers or b'')[9:80].decode(errors='replace').strip()}")
    return _stored(headers, data)


def _is_end(headers: bytes | None) -> bool:
    return status(headers) != 0


def _stored(headers: bytes | None, data: bytes) -> StoredMessage:
    sequence, subject = header(headers, b"Nats-Sequence"), header(headers, b"Nats-Subject")
    assert headers is not None and sequence is not None and subject is not None
    return StoredMessage(int(sequence), subject, headers, data)


class LastOf(NamedTuple):
    """The newest sequences of some subjects, and the stream's last sequence when they were read (0: unknown)."""

    sequences: dict[str, int]
    upto: int


async def read_last_of(link: NatsLink, stream: str, of: list[str], after: int = 0) -> LastOf:
    """Of the subjects `of` (at most `MULTI_LAST_SUBJECTS`), those with a retained message after the sequence `after`.

    Raises `NatsAway`.
    """
    query = msgspec.json.encode({"multi_last": of, "seq": after + 1})
    replies = await link.request_many(subjects.direct_get(stream), query, _is_end)
    end = replies.pop()[0]
    if status(end) not in (204, 404):
        raise NatsAway(f"reading stream {stream}: {(end or b'')[9:80].decode(errors='replace').strip()}")
    sequences = {
        (header(headers, b"Nats-Subject") or b"").decode(): int(header(headers, b"Nats-Sequence") or 0)
        for headers, _ in replies
    }
    return LastOf(sequences, int(header(end, b"Nats-UpTo-Sequence") or 0))
