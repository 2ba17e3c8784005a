"""Encodes publications for one kind of subscriber: whole or as deltas, and framed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from proto.codec import NotEncodable, payload
from proto.codec_json import JSON
from proto.fossil import create_delta, create_text_delta
from proto.messages import Publication
from proto.replies import Push, Reply
from services.edge.framing.formats import Format

_encode_text = msgspec.json.Encoder().encode


class EncodedPushes(NamedTuple):
    """The pushes of the first `taken` publications of a list, in one frame.

    `error` says why the next one cannot be encoded in this format; it is "" if all are encoded.
    """

    framed: bytes
    taken: int
    error: str = ""


def encode_pushes(format: Format, channel: str, publications: Iterable[Publication]) -> EncodedPushes:
    """Encodes the pushes of publications, up to the first one that cannot be encoded in this format."""
    messages: list[bytes] = []
    error = ""
    try:
        for publication in publications:
            messages.append(format.encode(Reply(push=Push(channel=channel, pub=publication))))
    except NotEncodable as reason:
        error = str(reason)
    return EncodedPushes(format.frame(messages) if messages else b"", len(messages), error)


def as_delta(format: Format, publication: Publication, previous: Publication | None) -> Publication:
    """A publication for subscribers with deltas: its difference to `previous` if that is smaller, otherwise whole.

    In JSON both are strings: the text of the difference, or of the whole payload. Raises `NotEncodable`.
    """
    data = bytes(publication.data)
    if format.codec is JSON:
        try:
            payload(data)  # the text itself is passed on, line breaks included: the next difference refers to it
        except ValueError as error:
            raise NotEncodable(str(error)) from None
        patch = None if previous is None else create_text_delta(bytes(previous.data), data)
        text = data if patch is None or len(patch) >= len(data) else patch
        return replace(publication, data=Raw(_encode_text(text.decode())), delta=text is not data)
    patch = None if previous is None else create_delta(bytes(previous.data), data)
    if patch is None or len(patch) >= len(data):
        return publication
    return replace(publication, data=Raw(patch), delta=True)


def as_deltas(format: Format, publications: list[Publication]) -> list[Publication]:
    """Publications for a subscriber with deltas: the first whole, each other against its predecessor.

    Raises `NotEncodable`.
    """
    before: list[Publication | None] = [None, *publications]
    return [as_delta(format, each, previous) for each, previous in zip(publications, before, strict=False)]
