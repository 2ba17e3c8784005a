"""Logs with messages that cannot be read or folded, in the middle of good ones."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgspec
import pytest

from proto.events import EventBatch, Opened, encode_batch
from proto.events_reading import read_message
from services.sessions import projection
from services.sessions.entries import Entry
from services.sessions.state import State

POISON = "poison"
"""The connection whose opening cannot be folded, once `poison` was called."""

UNKNOWN: dict[str, Any] = {"type": "teleported", "at": 1, "where": ["x"]}
BEYOND: dict[str, Any] = {"type": "closed", "at": 2**63, "connection": "c1", "code": 1000}


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the fold fail at an opening of `POISON`, until it is undone."""
    folds = projection._opened

    def fails(state: State, event: Opened, at: int, writer: projection.Writer) -> None:
        folds(state, event, at, writer)
        if event.connection == POISON:
            raise AssertionError("this one cannot be folded")

    monkeypatch.setattr(projection, "_opened", fails)


class PoisonedLog(NamedTuple):
    """A log; the batches of what is good in it; the sequences of what is set aside, and which of these can be folded
    once the fold is mended."""

    entries: list[Entry]
    good: list[EventBatch]
    refused: list[int]
    mendable: list[int]


def poisoned(story: list[EventBatch], chance: random.Random) -> PoisonedLog:
    """The log of a story in which a third of the messages are not as they should be."""
    log = PoisonedLog([], [], [], [])
    for sequence, batch in enumerate(story, 1):
        data = encode_batch(batch)
        raw = msgspec.json.decode(data)
        place = chance.randint(0, len(batch.events))
        match chance.randint(0, 14):
            case 0:
                data = data[:-1]
                log.refused.append(sequence)
            case 1:
                data = msgspec.json.encode({**raw, "number": 2**63})
                log.refused.append(sequence)
            case 2:
                raw["events"].insert(place, {"type": "opened", "at": 1, "connection": POISON, "user": "ann"})
                data = msgspec.json.encode(raw)
                log.refused.append(sequence)
                log.mendable.append(sequence)
            case 3:
                raw["events"].insert(place, BEYOND)
                data = msgspec.json.encode(raw)
                log.refused.append(sequence)
                log.good.append(batch)
            case 4:
                raw["events"].insert(place, UNKNOWN)
                data = msgspec.json.encode(raw)
                log.refused.append(sequence)
                log.good.append(batch)
            case _:
                log.good.append(batch)
        log.entries.append(Entry(sequence, data, batch.instance, *read_message(data)))
    return log
