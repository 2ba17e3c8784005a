"""What a reader of the session log makes of any message: one bad fact loses no other, and nothing is guessed."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proto.events import (
    EVENTS_VERSION,
    MAX_COUNT,
    MAX_VERSION,
    Closed,
    Event,
    EventBatch,
    Opened,
    SessionEvent,
    decode_batch,
    encode_batch,
)
from proto.events_reading import NewerBatch, ReadMessage, Unreadable, read_message
from proto.events_upcasting import Step, Upcasting
from tests.proto.strategies import structs

GOOD: list[SessionEvent] = [Opened(at=1, connection="c1", user="ann"), Closed(at=2, connection="c1", code=1000)]
BATCH = EventBatch("edge-1", "i1", 7, list(GOOD))


def message(*events: object, **members: object) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(BATCH), "events": list(events), **members})


@given(structs(EventBatch))
def test_a_batch_of_this_version_is_read_as_it_was_written(batch: EventBatch) -> None:
    this = msgspec.structs.replace(batch, version=EVENTS_VERSION)
    assert read_message(encode_batch(this)) == ReadMessage(this)


@given(st.binary(max_size=60))
@example(b"[" * 100_000)
@example(b'{"events":' + b"[" * 100_000)
@example(b'{"edge":"e","instance":"i","number":1,"events":[' + b"[" * 100_000)
def test_bytes_that_are_no_batch_are_handed_back_with_the_reason(data: bytes) -> None:
    read = read_message(data)
    assert read.batch is None and read.unreadable is not None
    assert read.unreadable.data == data and read.unreadable.reason


def test_a_fact_of_an_unknown_type_is_handed_back_alone_for_an_upgrade() -> None:
    unknown = {"type": "teleported", "at": 2**99, "to": {"x": [None]}}
    read = read_message(message(GOOD[0], unknown, GOOD[1], {"type": "moved"}))
    reason = "2 of its 4 facts are of unknown types, the first: 'teleported'"
    assert read == ReadMessage(
        BATCH, Unreadable(message(unknown, {"type": "moved"}), reason, True), ("teleported", "moved")
    )


def test_so_is_one_of_a_newer_version_of_its_type() -> None:
    newer = {"type": "closed@2", "at": 1, "link": "c1"}
    read = read_message(message(GOOD[0], newer, GOOD[1]))
    assert read.batch == BATCH and read.unknown == ("closed@2",)
    assert read.unreadable is not None and read.unreadable.newer and read.unreadable.data == message(newer)


def test_beside_one_that_nobody_can_read_it_waits_for_no_upgrade() -> None:
    read = read_message(message({"type": "moved"}, {"type": "closed"}, GOOD[0]))
    assert read.unreadable is not None and not read.unreadable.newer and read.unknown == ("moved",)
    assert read.unreadable.reason.startswith("1 of its 3 facts cannot be read, the first: ")
    assert read.unreadable.reason.endswith("; 1 of its 3 facts are of unknown types, the first: 'moved'")


def test_what_was_handed_back_is_read_by_who_knows_the_type() -> None:
    class Moved(Event, frozen=True, tag="moved"):
        pass

    left_out = read_message(message(GOOD[0], {"type": "moved", "at": 9})).unreadable
    assert left_out is not None
    read = read_message(left_out.data, Upcasting[SessionEvent]((*get_args(SessionEvent), Moved), ()))
    assert read == ReadMessage(msgspec.structs.replace(BATCH, events=[Moved(9)]))


def test_one_of_an_older_version_is_read_as_its_newest() -> None:
    class Shut(Event, frozen=True, tag="shut"):
        link: str

    class Ended(Event, frozen=True, tag="shut@2"):
        connection: str

    class Read(Ended, frozen=True, tag="shut@3"):
        pass

    steps = (
        Step(Shut, lambda old: Ended(old.at, old.link)),
        Step(Ended, lambda old: Read(old.at, old.connection)),
    )
    facts = Upcasting[SessionEvent]((*get_args(SessionEvent), Read), steps)
    old = ({"type": "shut", "at": 5, "link": "c1"}, {"type": "shut@2", "at": 6, "connection": "c2"})
    read = read_message(message(GOOD[0], *old, {"type": "shut@4", "at": 1}), facts)
    assert read.unknown == ("shut@4",) and read.batch is not None
    assert read.batch.events == [GOOD[0], Read(5, "c1"), Read(6, "c2")]


@pytest.mark.parametrize(
    "fact",
    [
        {"type": "opened", "at": 2**63, "connection": "c"},
        {"type": "subscribed", "at": 1, "connection": "c", "channel": "x", "recovered_count": MAX_COUNT + 1},
        {"type": "refused", "at": 1, "action": "connect", "code": 103, "count": MAX_COUNT + 1},
        {"type": "closed", "at": 1},
        {"at": 1},
        {"type": 7},
        [],
        None,
    ],
    ids=str,
)
def test_a_fact_that_is_not_as_its_type_says_is_handed_back_alone(fact: object) -> None:
    read = read_message(message(GOOD[0], fact, GOOD[1]))
    assert read.batch == BATCH and read.unreadable is not None and read.unknown == ()
    assert read.unreadable.reason.startswith("1 of its 3 facts cannot be read, the first: ")
    alone = msgspec.json.decode(read.unreadable.data)
    assert alone["events"] == [fact] and (alone["instance"], alone["number"]) == ("i1", 7)
    again = read_message(read.unreadable.data)
    assert again.batch is not None and again.batch.events == [], "nothing of it is folded twice"
    with pytest.raises(msgspec.DecodeError):
        decode_batch(read.unreadable.data)


@pytest.mark.parametrize("version", [EVENTS_VERSION + 1, MAX_VERSION])
@pytest.mark.parametrize("members", [{}, {"number": "seven"}, {"events": [{"type": "opened"}]}], ids=str)
def test_a_newer_batch_is_not_read_and_says_its_version(version: int, members: dict[str, object]) -> None:
    with pytest.raises(NewerBatch, match=rf"has version {version},"):
        read_message(msgspec.json.encode({**msgspec.to_builtins(BATCH), **members, "version": version}))


def test_a_version_that_nobody_will_write_is_not_waited_for() -> None:
    assert read_message(message(version=MAX_VERSION + 1)).batch is None
