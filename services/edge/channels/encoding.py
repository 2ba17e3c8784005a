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
    """Pushes in one frame: how many it holds, and how many this format could not carry."""

    framed: bytes
    pushes: int
    left_out: int = 0


def encode_publications(format: Format, channel: str, publications: Iterable[Publication]) -> EncodedPushes:
    """Encodes the pushes of publications, without those that this format cannot carry."""
    return encode_pushes(format, (Push(channel=channel, pub=publication) for publication in publications))


def encode_pushes(format: Format, pushes: Iterable[Push]) -> EncodedPushes:
    """Encodes pushes, without those that this format cannot carry."""
    messages: list[bytes] = []
    left_out = 0
    for push in pushes:
        try:
            messages.append(format.encode(Reply(push=push)))
        except NotEncodable:
            left_out += 1
    return EncodedPushes(format.frame(messages) if messages else b"", len(messages), left_out)


def as_delta(format: Format, publication: Publication, previous: Publication | None) -> Publication | None:
    """A publication for subscribers with deltas: its difference to `previous` if that is smaller, otherwise whole.

    In JSON both are strings: the text of the difference, or of the whole payload. None if the format cannot carry it.
    """
    data = bytes(publication.data)
    if not data:
        return publication
    if format.codec is JSON:
        try:
            payload(data)  # the text itself is passed on, line breaks included: the next difference refers to it
        except ValueError:
            return None
        patch = None if previous is None else create_text_delta(bytes(previous.data), data)
        text = data if patch is None or len(patch) >= len(data) else patch
        return replace(publication, data=Raw(_encode_text(text.decode())), delta=text is not data)
    patch = None if previous is None else create_delta(bytes(previous.data), data)
    if patch is None or len(patch) >= len(data):
        return publication
    return replace(publication, data=Raw(patch), delta=True)


def as_wholes(format: Format, publications: list[Publication]) -> list[Publication]:
    """Publications for a subscriber with deltas, all of them whole."""
    wholes = [(as_delta(format, publication, None), publication) for publication in publications]
    return [publication if whole is None else whole for whole, publication in wholes]


def as_deltas(format: Format, publications: list[Publication]) -> tuple[list[Publication], bool]:
    """Publications for a subscriber with deltas: the first whole, each other against its predecessor.

    A publication that the format cannot carry stays as it is, so that the encoder leaves it out, and the next one is
    whole. Also returns whether the subscriber will hold the last one.
    """
    made: list[Publication] = []
    previous: Publication | None = None
    for publication in publications:
        change = as_delta(format, publication, previous)
        made.append(publication if change is None else change)
        previous = None if change is None else publication
    return made, previous is not None
