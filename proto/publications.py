"""A publication as a NATS message: the body is the unchanged payload, everything else is in headers.

A NATS client in any language can therefore publish to a channel by sending plain JSON (or any bytes, for clients that
speak Protobuf), and an edge relays payload bytes without decoding them. The headers:

| header                   | what                                                                        |
|--------------------------|-----------------------------------------------------------------------------|
| `Nats-Msg-Id`            | the idempotency key: stored once within the stream's duplicate window       |
| `Fairlead-Info`          | the publishing client, a `ClientInfo` in JSON                               |
| `Fairlead-Tags`          | the publication's tags, a JSON object of strings                            |
| `Fairlead-Version`       | the version of the published data, see `Version`                            |
| `Fairlead-Version-Epoch` | the epoch within which versions are compared                                |
| `Fairlead-Empty`         | a publication without a payload, whose message is no stray empty one        |
| `Fairlead-Removed`       | not a publication: history up to this sequence was removed, all or some     |
| `Fairlead-At`            | when an edge accepted it, by the clock of NATS: Unix time in microseconds   |
| `traceparent`            | the span that published it, if it is traced (W3C); beside it, `tracestate`  |

JetStream adds `Nats-Sequence` (our offset) and, when it republishes, `Nats-Last-Sequence`: the sequence of the
channel's previous message, if it was still retained then, otherwise 0. A message on a `live.` subject without these two
is a publication that skips the history. `Nats-Time-Stamp`, the time when a message was stored, replaces `Fairlead-At`
for a publication that came straight from NATS.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from proto.codec import optional_payload
from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA, ClientInfo, Publication
from proto.trace_context import MARK, TraceContext, sampled_in, with_context

MESSAGE_ID: Final = "Nats-Msg-Id"
INFO: Final = "Fairlead-Info"
TAGS: Final = "Fairlead-Tags"
VERSION: Final = "Fairlead-Version"
VERSION_EPOCH: Final = "Fairlead-Version-Epoch"
EMPTY: Final = "Fairlead-Empty"
REMOVED: Final = "Fairlead-Removed"
AT: Final = "Fairlead-At"

_OURS = b"\r\nFairlead-"
_SEQUENCE = b"\r\nNats-Sequence:"
_LAST_SEQUENCE = b"\r\nNats-Last-Sequence:"
_INFO = f"\r\n{INFO}:".encode()
_TAGS = f"\r\n{TAGS}:".encode()
_VERSION = f"\r\n{VERSION}:".encode()
_VERSION_EPOCH = f"\r\n{VERSION_EPOCH}:".encode()
_EMPTY = f"\r\n{EMPTY}:".encode()
_REMOVED = f"\r\n{REMOVED}:".encode()
_AT = f"\r\n{AT}:".encode()
_AT_NAME = AT.encode()
_STORED_AT = b"\r\nNats-Time-Stamp:"

_encode = msgspec.json.Encoder().encode
_infos: JsonDecoder[ClientInfo] = JsonDecoder(ClientInfo, replaces_halves=True)
_decode_tags = JsonDecoder[dict[str, str]](dict[str, str], replaces_halves=True).decode


class BadPublication(ValueError):
    """A message on a channel's subject is not a publication: it is empty without the header `Fairlead-Empty`, or its
    headers are malformed.
    """


MAX_EPOCH_LENGTH: Final = 256
"""The most characters in the epoch of a version."""


def is_version_epoch(text: str) -> bool:
    """Whether `text` can be the epoch of a version: a header cannot hold line breaks, and does not keep spaces at its
    ends."""
    return len(text) <= MAX_EPOCH_LENGTH and text.isprintable() and text == text.strip()


class Version(NamedTuple):
    """The version of published data. A publication that is not newer than the channel's newest one is not stored, so
    publishers may race or retry.

    Numbers are compared within one `epoch`; any version of another epoch is newer.
    """

    number: int
    epoch: str = ""

    def is_newer_than(self, newest: Version | None) -> bool:
        """Whether this version may be stored after `newest`, the version of the channel's newest publication."""
        return newest is None or newest.epoch != self.epoch or self.number > newest.number


class LiveMessage(Struct, frozen=True, gc=False):
    """A republished message: its sequence, and the sequence of the channel's previous message that was still retained.

    `publication` is None if the message is not a publication; it still occupies a sequence of the log. A publication
    that skips the history has the sequence 0. If `removed_upto` is set, the history up to that sequence was removed.
    `published_at` is Unix time in seconds by the clock of the broker, 0 if it is not known. `trace` is the span that
    published it, if it is traced.
    """

    sequence: int
    previous: int
    publication: Publication | None
    removed_upto: int = 0
    published_at: float = 0.0
    trace: TraceContext | None = None


_ENVELOPE_BYTES: Final = 150
"""Size of the other parts of a publication, besides payload, `info` and tags: field names, ids, the offset."""


def size_of(publication: Publication) -> int:
    """Estimates how many bytes a publication takes in a message to a client."""
    size = len(bytes(publication.data)) + _ENVELOPE_BYTES
    if publication.info is not None:
        size += len(bytes(publication.info.conn_info)) + len(bytes(publication.info.chan_info))
    for name, value in (publication.tags or {}).items():
        size += len(name) + len(value) + 6
    return size


def encode_headers(
    publication: Publication,
    message_id: str = "",
    version: Version | None = None,
    at: float = 0.0,
    trace: TraceContext | None = None,
) -> bytes | None:
    """The raw header block to publish with, None if no header is needed.

    `message_id` and the version's epoch must not contain line breaks. `at` is when the publication was accepted, in
    seconds (see `LiveMessage.published_at`). `trace` is the span that publishes, if it is traced.
    """
    lines: list[bytes] = []
    if at:
        lines.append(b"%s: %d" % (_AT_NAME, at * 1e6))
    if message_id:
        lines.append(f"{MESSAGE_ID}: {message_id}".encode())
    if publication.info is not None:
        lines.append(f"{INFO}: ".encode() + _encode(publication.info))
    if publication.tags:
        lines.append(f"{TAGS}: ".encode() + _encode(publication.tags))
    if not bytes(publication.data):
        lines.append(f"{EMPTY}: 1".encode())
    lines += _version_lines(version)
    block = b"\r\n".join((b"NATS/1.0", *lines, b"", b"")) if lines else None
    return block if trace is None else with_context(block, trace)


def _version_lines(version: Version | None) -> list[bytes]:
    if version is None:
        return []
    epoch = [f"{VERSION_EPOCH}: {version.epoch}".encode()] if version.epoch else []
    return [f"{VERSION}: {version.number}".encode(), *epoch]


def encode_removal(upto: int, version: Version | None = None) -> bytes:
    """The headers of a removal mark, which has no body: the channel's history up to the sequence `upto` was removed.

    If only a part of it was removed (a user was erased), the newest publication may remain: `version` is its version.
    """
    return b"\r\n".join((b"NATS/1.0", f"{REMOVED}: {upto}".encode(), *_version_lines(version), b"", b""))


def decode_publication(headers: bytes | None, data: bytes, offset: int = 0) -> Publication:
    """The publication in a message. Raises `BadPublication`."""
    if not data and (headers is None or _EMPTY not in headers):
        raise BadPublication("no payload")
    if headers is None or _OURS not in headers:
        return Publication(Raw(data), None, offset)
    try:
        info = _value(headers, _INFO)
        tags = _value(headers, _TAGS)
        return Publication(
            Raw(data),
            _info(info) if info else None,
            offset,
            _decode_tags(tags) if tags else None,
        )
    except ValueError as error:
        raise BadPublication(str(error)) from None


def _info(text: bytes) -> ClientInfo:
    """The publisher. Its payloads are checked, as anybody on NATS may have written them. Raises ValueError."""
    info = _infos.decode(text)
    if info.conn_info is NO_DATA and info.chan_info is NO_DATA:
        return info
    return replace(info, conn_info=optional_payload(info.conn_info), chan_info=optional_payload(info.chan_info))


def decode_live(headers: bytes | None, data: bytes) -> LiveMessage:
    """A message that JetStream has republished, or one that skips the history. Raises `BadPublication` for any
    other."""
    try:
        offset, before = _counted(headers, _SEQUENCE), _counted(headers, _LAST_SEQUENCE)
    except ValueError:
        raise BadPublication("not republished by JetStream") from None
    if headers is None or offset is None or before is None:
        return LiveMessage(0, 0, decode_publication(headers, data), 0, published_at(headers), sampled_in(headers))
    try:
        publication = decode_publication(headers, data, offset)
    except BadPublication:
        return LiveMessage(offset, before, None, removed_upto(headers))
    trace = sampled_in(headers) if MARK in headers else None
    return LiveMessage(offset, before, publication, 0, published_at(headers), trace)


def published_at(headers: bytes | None) -> float:
    """When a publication was accepted, or otherwise stored: Unix time in seconds, 0 if unknown."""
    if headers is None:
        return 0.0
    try:
        if at := _counted(headers, _AT):
            return at / 1e6 if 0 < at < _LATEST else 0.0
        stored = _value(headers, _STORED_AT)
        return datetime.fromisoformat(stored.decode()).timestamp() if stored else 0.0
    except (ValueError, OverflowError):  # neither we nor NATS wrote it
        return 0.0


_LATEST: Final = 2**53  # microseconds: the year 2255


def removed_upto(headers: bytes | None) -> int:
    """The sequence up to which a removal mark says that the history was removed; 0 for any other message."""
    return _number(_value(headers, _REMOVED))


def version_of(headers: bytes | None) -> Version | None:
    """The version with which a stored message was published, None if it had none."""
    number = _number(_value(headers, _VERSION))
    if not number:
        return None
    return Version(number, (_value(headers, _VERSION_EPOCH) or b"").decode(errors="replace"))


def _number(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() and len(value) < 20 else 0


def _counted(headers: bytes | None, name: bytes) -> int | None:
    """Like `_value`, but for numbers, which every live message has: `int` itself skips the spaces around them."""
    if headers is None:
        return None
    start = headers.rfind(name)
    if start < 0:
        return None
    start += len(name)
    return int(headers[start : headers.find(b"\r", start)])


def _value(headers: bytes | None, name: bytes) -> bytes | None:
    if headers is None:
        return None
    start = headers.rfind(name)  # the last one: JetStream's headers follow the publisher's
    if start < 0:
        return None
    start += len(name)
    return headers[start : headers.find(b"\r\n", start)].strip()


def publisher_of(headers: bytes | None) -> str:
    """The id of the user who published a message; "" for an anonymous one, and if the header is missing or
    malformed."""
    info = _value(headers, _INFO)
    try:
        user = _infos.decode(info).user if info else UNSET
    except ValueError:
        return ""
    return "" if user is UNSET else user
