"""A stream that follows another: it has the headers of all its messages, without their bodies.

The server itself keeps it up to date, even across restarts, and whoever publishes ("durable sourcing", since
nats-server 2.14): a consumer that leaves out bodies delivers the source's messages to the following stream. Each
message names its sequence in the source. If `sequence - number` is the same for two messages, no message of the source
between them was skipped.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, header
from services.chassis.nats.stream_reads import READ_BYTES, StoredMessage, read_last, read_stream
from services.chassis.nats.streams import ApiError, raised

_MAX_ACK_PENDING: Final = 1000
LOWEST_KEY: Final = "fairlead-lowest-limit"
_HEARTBEAT_NS: Final = 1_000_000_000  # the only value that the server accepts for such a consumer
_SOURCE: Final = b"Nats-Stream-Source"
_STREAM_EXISTS: Final = 10058  # JetStream's code: the name is in use with another configuration
_BAD_REQUEST: Final = 10025  # JetStream's code: the request has a value that this version does not know
_STREAM_NOT_FOUND: Final = 10059
_CONSUMER_NOT_FOUND: Final = 10014
_TIMEOUT_S: Final = 5.0
_SHORTEST_WINDOW_NS: Final = 100_000_000
"""The source has removed duplicates already, so the window is as short as the server allows."""


class Followed(NamedTuple):
    """A message of the following stream: its number there, and the sequence of the original in the source."""

    number: int
    sequence: int
    headers: bytes
    at: str

    @property
    def skipped(self) -> int:
        """How many sequences of the source before this one the following stream has skipped, plus a constant."""
        return self.sequence - self.number


class Unsupported(NatsRefused):
    """The server is too old to let one stream follow another without bodies."""


class _Answer(msgspec.Struct):
    error: ApiError | None = None
    streams: list[str] | None = None
    config: dict[str, Any] | None = None
    total: int = 0


_decode = msgspec.json.Decoder(_Answer).decode


async def _call(link: NatsLink, subject: str, body: dict[str, Any], accept: int = 0) -> _Answer:
    _, reply = await link.request(subject, msgspec.json.encode(body), timeout_s=_TIMEOUT_S)
    try:
        answer = _decode(reply)
    except msgspec.DecodeError:
        raise NatsAway(f"the reply on {subject} is not JetStream's") from None
    if answer.error is not None and answer.error.err_code != accept:
        raise raised(subject.removeprefix(subjects.JETSTREAM_API), answer.error)
    return answer


async def follow(
    link: NatsLink,
    stream: str,
    source: str,
    delivery: str,
    *,
    max_msgs_per_subject: int,
    max_age_s: float,
    max_bytes: int,
    replicas: int = 0,
) -> tuple[bool, int]:
    """Makes `stream` follow `source`, beginning with the oldest message that is retained there. If it already does,
    only its limits are changed.

    `max_msgs_per_subject` is never lowered. Returns whether the stream begins to follow now, or begins again, and the
    lowest limit that it ever had. `replicas` is as for `stream_config`. `delivery` is a subject for these messages
    alone. Raises `NatsAway`, and `NatsRefused`, which is `Unsupported` if the server is too old.
    """
    consumer = {
        "name": stream,
        "durable_name": stream,
        "deliver_subject": delivery,
        "deliver_policy": "all",
        "ack_policy": "flow_control",
        "replay_policy": "instant",
        "flow_control": True,
        "idle_heartbeat": _HEARTBEAT_NS,
        "max_ack_pending": _MAX_ACK_PENDING,
        "headers_only": True,
    }
    known = await _call(link, subjects.consumer_info(source, stream), {}, accept=_CONSUMER_NOT_FOUND)
    made = await _call(
        link, subjects.consumer_create(source, stream), {"stream_name": source, "config": consumer}, accept=_BAD_REQUEST
    )
    if made.error is not None:
        raise Unsupported(f"{made.error.description} (nats-server 2.14 or newer is needed)")
    begun = known.error is not None
    found = (await _call(link, subjects.stream_info(stream), {}, accept=_STREAM_NOT_FOUND)).config or {}
    metadata = found.get("metadata") or {}
    limit = max(max_msgs_per_subject, found.get("max_msgs_per_subject", 0))
    lowest = metadata.get(LOWEST_KEY, str(found.get("max_msgs_per_subject", limit)))
    limits = {
        "max_msgs_per_subject": limit,
        "num_replicas": replicas or link.replicas or found.get("num_replicas", 1),
        "max_age": int(max_age_s * 1e9),
        "max_bytes": max_bytes,
        "metadata": {**metadata, LOWEST_KEY: lowest},
    }
    if not found:
        config = {
            "name": stream,
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "duplicate_window": _SHORTEST_WINDOW_NS,
            "allow_direct": True,
            "sources": [{"name": source, "consumer": {"name": stream, "deliver_subject": delivery}}],
            **limits,
        }
        created = await _call(link, subjects.stream_create(stream), config, accept=_STREAM_EXISTS)
        if created.error is not None:
            raise NatsAway(f"stream {stream} is being made with other limits")
    elif any(found.get(name) != value for name, value in limits.items()):
        await _call(link, subjects.stream_update(stream), {**found, **limits})
    return begun or not found, int(lowest)


async def forget_source(link: NatsLink, stream: str, source: str) -> None:
    """Deletes the consumer that fed a following stream which is gone, so that the next such stream reads from the
    beginning.

    Raises `NatsAway`.
    """
    try:
        await _call(link, subjects.consumer_delete(source, stream), {}, accept=_CONSUMER_NOT_FOUND)
    except NatsRefused:
        return  # the source was deleted, and its consumers with it


async def unfollow(link: NatsLink, stream: str, source: str) -> None:
    """Deletes a following stream, and the consumer that feeds it, if they exist. Raises `NatsAway`, `NatsRefused`."""
    await _call(link, subjects.stream_delete(stream), {}, accept=_STREAM_NOT_FOUND)
    await forget_source(link, stream, source)


async def stream_names(link: NatsLink, prefix: str) -> list[str]:
    """The names of all streams that begin with `prefix`. Raises `NatsAway`, `NatsRefused`."""
    found: list[str] = []
    offset = 0
    while True:
        answer = await _call(link, subjects.STREAM_NAMES, {"offset": offset})
        names = answer.streams or []
        found += [name for name in names if name.startswith(prefix)]
        offset += len(names)
        if not names or offset >= answer.total:
            return found


async def last_followed(link: NatsLink, stream: str, subject: str = ">") -> Followed | None:
    """The newest message of a following stream, None if it has none. Raises `NatsAway`."""
    message = await read_last(link, stream, subject)
    return None if message is None else followed(message)


async def read_followed(
    link: NatsLink, stream: str, limit: int, subject: str = "", from_number: int = 1, max_bytes: int = READ_BYTES
) -> tuple[list[Followed], int]:
    """Up to `limit` messages of a following stream, from a number on, of one subject or of all; and how many follow.

    It stops early at `max_bytes`. Raises `NatsAway`.
    """
    messages, left = await read_stream(link, stream, from_number, limit, subject, max_bytes)
    return [followed(message) for message in messages], left


def followed(message: StoredMessage) -> Followed:
    """A message of a following stream, as it was read."""
    parts = (header(message.headers, _SOURCE) or b"").split(b" ")
    at = (header(message.headers, b"Nats-Time-Stamp") or b"").decode()
    return Followed(message.sequence, int(parts[1]) if len(parts) > 1 else 0, message.headers, at)
