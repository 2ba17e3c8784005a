"""How a publication travels on NATS: the body is the payload as it is, everything else is in headers.

So any NATS client in any language publishes to a channel by sending plain JSON, and an edge relays payload bytes
without decoding them. Headers that we define:

| header            | what                                                        |
|-------------------|-------------------------------------------------------------|
| `Nats-Msg-Id`     | the idempotency key: stored once within the stream's window |
| `Fairlead-Info`   | the publishing client, a `ClientInfo` in JSON               |
| `Fairlead-Tags`   | the publication's tags, a JSON object of strings            |

JetStream adds `Nats-Sequence` (our offset) and, when it republishes, `Nats-Last-Sequence`: the previous sequence of the
channel that was still retained then, 0 for none.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from proto.codec import payload
from proto.messages import ClientInfo, Publication

MESSAGE_ID: Final = "Nats-Msg-Id"
INFO: Final = "Fairlead-Info"
TAGS: Final = "Fairlead-Tags"

_SEQUENCE = b"\r\nNats-Sequence:"
_LAST_SEQUENCE = b"\r\nNats-Last-Sequence:"
_INFO = f"\r\n{INFO}:".encode()
_TAGS = f"\r\n{TAGS}:".encode()

_encode = msgspec.json.Encoder().encode
_decode_info = msgspec.json.Decoder(ClientInfo).decode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


class BadPublication(ValueError):
    """A message on a channel's subject that is no publication: its payload is not JSON, or its headers are broken."""


class LiveMessage(NamedTuple):
    """A republished message: its sequence, and the previous retained one of the channel at the time it was stored.

    `publication` is None for a message that is no publication; its place in the log counts all the same.
    """

    sequence: int
    previous: int
    publication: Publication | None


def encode_headers(publication: Publication, message_id: str = "") -> bytes | None:
    """The raw header block to publish with, None when no header is needed. `message_id` must be free of line breaks."""
    lines = [b"NATS/1.0"]
    if message_id:
        lines.append(f"{MESSAGE_ID}: {message_id}".encode())
    if publication.info is not None:
        lines.append(f"{INFO}: ".encode() + _encode(publication.info))
    if publication.tags:
        lines.append(f"{TAGS}: ".encode() + _encode(publication.tags))
    if len(lines) == 1:
        return None
    return b"\r\n".join((*lines, b"", b""))


def decode_publication(headers: bytes | None, data: bytes, offset: int = 0) -> Publication:
    """The publication in a message. Raises `BadPublication`."""
    try:
        info = _value(headers, _INFO)
        tags = _value(headers, _TAGS)
        return Publication(
            data=payload(data),
            info=_decode_info(info) if info else None,
            offset=offset,
            tags=_decode_tags(tags) if tags else None,
        )
    except (ValueError, msgspec.DecodeError) as error:
        raise BadPublication(str(error)) from None


def decode_live(headers: bytes | None, data: bytes) -> LiveMessage:
    """A message as JetStream republishes it. Raises `BadPublication` when it did not come from JetStream at all."""
    sequence, previous = _value(headers, _SEQUENCE), _value(headers, _LAST_SEQUENCE)
    if sequence is None or previous is None:
        raise BadPublication("not republished by JetStream")
    try:
        offset, before = int(sequence), int(previous)
    except ValueError:
        raise BadPublication("not republished by JetStream") from None
    try:
        publication = decode_publication(headers, data, offset)
    except BadPublication:
        return LiveMessage(offset, before, None)
    return LiveMessage(offset, before, publication)


def _value(headers: bytes | None, name: bytes) -> bytes | None:
    if headers is None:
        return None
    start = headers.find(name)
    if start < 0:
        return None
    start += len(name)
    return headers[start : headers.find(b"\r\n", start)].strip()
