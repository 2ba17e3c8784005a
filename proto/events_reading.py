"""Reads a message of the session log as far as this version understands it, so that a bad fact does not affect others.

Four rules. A batch of a newer version is not read at all: its reader waits until it is upgraded. A fact of an older
version of its type is lifted to the newest one (`events_upcasting`). A fact of an unknown type, or of a newer version
of its type, is left out and returned with the reason; so is a fact that does not match its type. A message whose
envelope is not that of a batch is returned as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeVar

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType, json

from proto.events import EVENTS_VERSION, MAX_VERSION, EventBatch, Number, SessionEvent, decode_batch
from proto.events_upcasting import FACTS, UnknownType, Upcasting

T = TypeVar("T")


class NewerBatch(Exception):
    """The batch is of a newer version of the contract, `version`."""

    def __init__(self, version: int) -> None:
        super().__init__(f"it has version {version}, and {EVENTS_VERSION} is the newest that is known here")
        self.version = version


class Unreadable(NamedTuple):
    """What violates the contract: the whole message, or a batch with only the facts that do. `newer`: all of these
    facts have types, or versions of types, that are not known here, so that an upgraded process may read them."""

    data: bytes
    reason: str
    newer: bool = False


class ReadMessage(NamedTuple):
    """The content of a message: the facts that are understood, None if it is not a batch; the unreadable rest; and the
    unknown types in that rest."""

    batch: EventBatch | None
    unreadable: Unreadable | None = None
    unknown: tuple[str, ...] = ()


_Version = Annotated[int, Meta(ge=1, le=MAX_VERSION)]


class _Versioned(Struct):
    version: _Version = EVENTS_VERSION


class _Envelope(Struct):
    """An `EventBatch` whose facts are not decoded yet."""

    edge: str
    instance: str
    number: Number
    events: list[Raw]
    version: _Version = EVENTS_VERSION
    traces: list[str] | UnsetType = UNSET


_decode_version = json.Decoder(_Versioned).decode
_decode_envelope = json.Decoder(_Envelope).decode
_encode = json.Encoder().encode


def read_message(data: bytes, facts: Upcasting[SessionEvent] = FACTS) -> ReadMessage:
    """Reads one message of the session log with the types and versions of `facts`. Raises `NewerBatch`, and nothing
    else."""
    try:
        batch = decode_batch(data)
    except DecodeError as error:
        return _read_in_parts(data, str(error), facts)
    if batch.version > EVENTS_VERSION:
        raise NewerBatch(batch.version)
    return ReadMessage(batch)


def _read_in_parts(data: bytes, reason: str, facts: Upcasting[SessionEvent]) -> ReadMessage:
    version = _tried(_decode_version, data)
    if version is not None and version.version > EVENTS_VERSION:
        raise NewerBatch(version.version)
    envelope = _tried(_decode_envelope, data)
    if envelope is None:
        return ReadMessage(None, Unreadable(data, reason))
    events: list[SessionEvent] = []
    left_out: list[Raw] = []
    unknown: list[str] = []
    why = ""
    for raw in envelope.events:
        try:
            events.append(facts.read(raw))
        except UnknownType as error:
            left_out.append(raw)
            unknown.append(error.tag)
        except DecodeError as error:
            left_out.append(raw)
            why = why or str(error)
    made = EventBatch(envelope.edge, envelope.instance, envelope.number, events, envelope.version, envelope.traces)
    if not left_out:
        return ReadMessage(made)
    alone = _encode(_Envelope(envelope.edge, envelope.instance, envelope.number, left_out, envelope.version))
    all_, bad = len(envelope.events), len(left_out) - len(unknown)
    reasons = [f"{bad} of its {all_} facts cannot be read, the first: {why}"] if bad else []
    if unknown:
        reasons.append(f"{len(unknown)} of its {all_} facts are of unknown types, the first: {unknown[0]!r}")
    return ReadMessage(made, Unreadable(alone, "; ".join(reasons), newer=not bad), tuple(unknown))


def _tried(decode: Callable[[bytes | Raw], T], data: bytes | Raw) -> T | None:
    try:
        return decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
