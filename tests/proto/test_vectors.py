"""Every golden vector both ways, and that nothing of the contract is without one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from proto import codec, codes, events, messages, publications, subjects, telemetry
from tests.proto.vectors import build, load, name_of, wire_bytes

COMMANDS = load("commands.json", "valid")
REPLIES = load("replies.json", "replies")
BATCHES = load("events.json", "valid")
HEARTBEATS = load("telemetry.json", "valid")
PUBLICATIONS = load("publications.json", "valid")
CHANNELS = load("subjects.json", "channels")
MANY = 100


@pytest.mark.parametrize("case", COMMANDS, ids=name_of)
def test_command_frames(case: dict[str, Any]) -> None:
    commands = [build(messages.Command, command) for command in case["commands"]]
    assert codec.decode_commands(wire_bytes(case, "frame"), MANY) == commands
    if case.get("canonical", True):
        assert b"\n".join(map(msgspec.json.encode, commands)) == wire_bytes(case, "frame")


@pytest.mark.parametrize("case", load("commands.json", "invalid"), ids=name_of)
def test_frames_that_are_refused(case: dict[str, Any]) -> None:
    assert case["close"] == codes.BAD_REQUEST_CLOSE.code
    with pytest.raises(codec.BadFrame):
        codec.decode_commands(wire_bytes(case, "frame"), MANY)


@pytest.mark.parametrize("case", REPLIES, ids=name_of)
def test_replies(case: dict[str, Any]) -> None:
    reply = build(messages.Reply, case["reply"])
    assert codec.encode_reply(reply) == wire_bytes(case, "wire")
    assert msgspec.json.decode(wire_bytes(case, "wire"), type=messages.Reply) == reply
    push = reply.push
    if push is not None and push.pub is not None:
        assert codec.encode_publication_push(push.channel, push.pub) == wire_bytes(case, "wire")


@pytest.mark.parametrize("case", load("replies.json", "frames"), ids=name_of)
def test_messages_in_one_frame(case: dict[str, Any]) -> None:
    assert codec.join_messages(message.encode() for message in case["messages"]) == wire_bytes(case, "frame")


def test_the_ping_is_the_empty_reply() -> None:
    assert codec.encode_reply(messages.Reply()) == codec.PING


@pytest.mark.parametrize("case", BATCHES, ids=name_of)
def test_session_events(case: dict[str, Any]) -> None:
    batch = build(events.EventBatch, case["batch"])
    assert events.decode_batch(wire_bytes(case, "wire")) == batch
    assert batch.message_id == case["message_id"]
    if case.get("canonical", True):
        assert events.encode_batch(batch) == wire_bytes(case, "wire")


@pytest.mark.parametrize("case", load("events.json", "invalid"), ids=name_of)
def test_event_batches_that_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        events.decode_batch(wire_bytes(case, "wire"))


@pytest.mark.parametrize("case", HEARTBEATS, ids=name_of)
def test_heartbeats(case: dict[str, Any]) -> None:
    beat = build(telemetry.Heartbeat, case["heartbeat"])
    assert telemetry.encode_heartbeat(beat) == wire_bytes(case, "wire")
    assert telemetry.decode_heartbeat(wire_bytes(case, "wire")) == beat


@pytest.mark.parametrize("case", load("telemetry.json", "invalid"), ids=name_of)
def test_heartbeats_that_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        telemetry.decode_heartbeat(wire_bytes(case, "wire"))


@pytest.mark.parametrize("case", CHANNELS, ids=lambda case: f"{case['channel'][:8]!a}-{case['history_class']}")
def test_subjects_of_channels(case: dict[str, Any]) -> None:
    channel, partitions = case["channel"], case["partitions"]
    address = subjects.log_address(case["history_class"], partitions, channel)
    assert address == (case["stream"], case["stored"], case["live"])
    assert subjects.partition_of(channel, partitions) == case["partition"]
    assert subjects.ephemeral(channel) == case["ephemeral"]
    assert {subjects.channel_of(case[kind]) for kind in ("stored", "live", "ephemeral")} == {channel}


@pytest.mark.parametrize("case", load("subjects.json", "streams"), ids=lambda case: case["stream"])
def test_streams(case: dict[str, Any]) -> None:
    assert subjects.log_stream(case["history_class"], case["partition"]) == case["stream"]
    stored, republished = subjects.log_subjects(case["history_class"], case["partition"])
    assert (stored, republished) == (case["stores"], case["republishes"])


def test_subjects_of_processes() -> None:
    for case in load("subjects.json", "session_events"):
        assert subjects.session_events(case["instance"]) == case["subject"]
    for case in load("subjects.json", "telemetry"):
        assert subjects.telemetry(case["service"], case["instance"]) == case["subject"]


def _headers(case: dict[str, Any]) -> bytes | None:
    return None if case["headers"] is None else wire_bytes(case, "headers")


@pytest.mark.parametrize("case", PUBLICATIONS, ids=name_of)
def test_publications(case: dict[str, Any]) -> None:
    decoded = publications.decode_publication(_headers(case), wire_bytes(case, "body"))
    publication = build(messages.Publication, case["publication"])
    if case.get("canonical", True):
        assert decoded == publication
        assert publications.encode_headers(publication, case["message_id"]) == _headers(case)
    else:
        assert bytes(decoded.data).decode() == case.get("data", case["body"])
        assert json.loads(msgspec.json.encode(decoded)) == case["publication"]


@pytest.mark.parametrize("case", load("publications.json", "invalid"), ids=name_of)
def test_what_is_no_publication(case: dict[str, Any]) -> None:
    with pytest.raises(publications.BadPublication):
        publications.decode_publication(_headers(case), wire_bytes(case, "body"))


@pytest.mark.parametrize("case", load("publications.json", "live"), ids=name_of)
def test_live_messages(case: dict[str, Any]) -> None:
    live = publications.decode_live(_headers(case), wire_bytes(case, "body"))
    assert (live.sequence, live.previous) == (case["sequence"], case["previous"])
    wanted = case["publication"]
    assert live.publication == (wanted and build(messages.Publication, wanted))


@pytest.mark.parametrize("case", load("publications.json", "not_live"), ids=name_of)
def test_messages_that_jetstream_did_not_republish(case: dict[str, Any]) -> None:
    with pytest.raises(publications.BadPublication):
        publications.decode_live(_headers(case), b"1")


# --- completeness ---------------------------------------------------------------------------------------------------


def _structs(value: object) -> Iterator[type]:
    """The types of all structs in a message."""
    if isinstance(value, Struct):
        yield type(value)
        for field in value.__struct_fields__:
            yield from _structs(getattr(value, field))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _structs(item)
    elif isinstance(value, dict):
        yield from _structs(list(value.values()))


def _defined(module: Any, base: type) -> set[type]:
    found = (kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base))
    return {kind for kind in found if kind.__module__ == module.__name__}


def test_every_message_type_has_a_vector() -> None:
    built = [build(messages.Command, command) for case in COMMANDS for command in case["commands"]]
    everything = [*built, *(build(messages.Reply, case["reply"]) for case in REPLIES)]
    assert _defined(messages, Struct) - {messages.Message} == set(_structs(everything))


def test_every_field_has_a_vector() -> None:
    shown: set[str] = set()

    def note(value: object) -> None:
        if isinstance(value, dict):
            shown.update(value)
            note(list(value.values()))
        elif isinstance(value, list):
            for item in value:
                note(item)

    for case in (*COMMANDS, *REPLIES):
        note(case.get("commands", case.get("reply")))
    fields = {name for kind in _defined(messages, Struct) for name in kind.__struct_fields__}  # type: ignore[attr-defined]  # structs
    assert fields <= shown


def test_every_event_and_every_load_has_a_vector() -> None:
    batches = [build(events.EventBatch, case["batch"]) for case in BATCHES]
    assert _defined(events, Struct) - {events.Event} == set(_structs(batches))
    beats = [build(telemetry.Heartbeat, case["heartbeat"]) for case in HEARTBEATS]
    assert _defined(telemetry, Struct) == set(_structs(beats))


def test_every_code_has_a_vector() -> None:
    table = [value for value in vars(codes).values() if isinstance(value, tuple) and hasattr(value, "code")]
    shown = {
        tuple(case.values()) for section in ("errors", "unsubscribes", "closes") for case in load("codes.json", section)
    }
    wanted = {
        *(tuple(code) for code in table if isinstance(code, codes.ErrorCode)),
        *((*code, code.code >= 2500) for code in table if isinstance(code, codes.UnsubscribeCode)),
        *((*code, code.reconnect) for code in table if isinstance(code, codes.CloseCode)),
    }
    assert shown == wanted
