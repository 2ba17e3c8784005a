"""Every golden vector both ways, and that nothing of the contract is without one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT, Struct

from proto import codes, commands, events, messages, publications, replies, subjects, telemetry
from proto.codec import BadFrame
from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF, decode_emulation, decode_replies, encode_command
from proto.events_reading import ReadMessage, read_message
from proto.trace_context import TraceContext
from tests.proto.vectors import as_protobuf_tells, build, load, name_of, wire_bytes

COMMANDS = load("commands.json", "valid")
REPLIES = load("replies.json", "replies")
PUSHES = load("replies.json", "pushes")
PROTOBUF_COMMANDS = load("protobuf.json", "valid")
PROTOBUF_REPLIES = load("protobuf.json", "replies")
EMULATION = load("protobuf.json", "emulation")
BATCHES = load("events.json", "valid")
HEARTBEATS = load("telemetry.json", "valid")
PUBLICATIONS = load("publications.json", "valid")
CHANNELS = load("subjects.json", "channels")
MANY = 100


@pytest.mark.parametrize("case", COMMANDS, ids=name_of)
def test_command_frames(case: dict[str, Any]) -> None:
    built = [build(commands.Command, command) for command in case["commands"]]
    assert JSON.decode_commands(wire_bytes(case, "frame"), MANY) == built
    if case.get("canonical", True):
        assert b"\n".join(map(msgspec.json.encode, built)) == wire_bytes(case, "frame")
        assert PROTOBUF.decode_commands(wire_bytes(case, "protobuf"), MANY) == built
        assert PROTOBUF.join(map(encode_command, built)) == wire_bytes(case, "protobuf")


@pytest.mark.parametrize("case", load("commands.json", "invalid"), ids=name_of)
def test_frames_that_are_refused(case: dict[str, Any]) -> None:
    assert case["close"] == codes.BAD_REQUEST_CLOSE.code
    with pytest.raises(BadFrame):
        JSON.decode_commands(wire_bytes(case, "frame"), MANY)


@pytest.mark.parametrize("case", PROTOBUF_COMMANDS, ids=name_of)
def test_protobuf_frames(case: dict[str, Any]) -> None:
    built = [build(commands.Command, command) for command in case["commands"]]
    assert PROTOBUF.decode_commands(wire_bytes(case, "frame"), MANY) == built
    canonical = PROTOBUF.join(map(encode_command, built)) == wire_bytes(case, "frame")
    assert canonical == case.get("canonical", True)


@pytest.mark.parametrize("case", load("protobuf.json", "invalid"), ids=name_of)
def test_protobuf_frames_that_are_refused(case: dict[str, Any]) -> None:
    assert case["close"] == codes.BAD_REQUEST_CLOSE.code
    with pytest.raises(BadFrame):
        PROTOBUF.decode_commands(wire_bytes(case, "frame"), MANY)


@pytest.mark.parametrize("case", REPLIES, ids=name_of)
def test_replies(case: dict[str, Any]) -> None:
    reply = build(replies.Reply, case["reply"])
    assert JSON.encode_reply(reply) == wire_bytes(case, "wire")
    assert msgspec.json.decode(wire_bytes(case, "wire"), type=replies.Reply) == reply
    assert PROTOBUF.encode_reply(reply) == wire_bytes(case, "protobuf")
    assert decode_replies(PROTOBUF.join([wire_bytes(case, "protobuf")])) == [as_protobuf_tells(reply)]


@pytest.mark.parametrize("case", PROTOBUF_REPLIES, ids=name_of)
def test_replies_that_are_not_json(case: dict[str, Any]) -> None:
    reply = build(replies.Reply, case["reply"])
    assert PROTOBUF.encode_reply(reply) == wire_bytes(case, "wire")
    assert decode_replies(PROTOBUF.join([wire_bytes(case, "wire")])) == [reply]


@pytest.mark.parametrize("case", PUSHES, ids=name_of)
def test_pushes_alone(case: dict[str, Any]) -> None:
    push = build(replies.Push, case["push"])
    assert JSON.encode_push(push) == wire_bytes(case, "wire")
    assert PROTOBUF.encode_push(push) == wire_bytes(case, "protobuf")


@pytest.mark.parametrize("case", load("replies.json", "frames"), ids=name_of)
def test_messages_in_one_frame(case: dict[str, Any]) -> None:
    assert JSON.join(message.encode() for message in case["messages"]) == wire_bytes(case, "frame")
    assert PROTOBUF.join(map(bytes.fromhex, case["messages_protobuf_hex"])) == wire_bytes(case, "protobuf")


@pytest.mark.parametrize("case", EMULATION, ids=name_of)
def test_emulation_requests(case: dict[str, Any]) -> None:
    assert decode_emulation(wire_bytes(case, "wire")) == build(commands.EmulationRequest, case["request"])


@pytest.mark.parametrize("case", BATCHES, ids=name_of)
def test_session_events(case: dict[str, Any]) -> None:
    """They are read for ever, also those from before a field or a type was added."""
    batch = build(events.EventBatch, case["batch"])
    assert read_message(wire_bytes(case, "wire")) == ReadMessage(batch)
    assert batch.message_id == case["message_id"]
    if case.get("canonical", True):
        assert events.encode_batch(batch) == wire_bytes(case, "wire")


@pytest.mark.parametrize("case", load("events.json", "partly_known"), ids=name_of)
def test_session_events_of_which_some_are_not_known(case: dict[str, Any]) -> None:
    batch = build(events.EventBatch, case["batch"])
    read = read_message(wire_bytes(case, "wire"))
    assert (read.batch, read.unknown) == (batch, tuple(case["unknown"]))
    assert read.unreadable is not None and read.unreadable.newer, "an upgrade may read them"
    left_out = [event["type"] for event in msgspec.json.decode(read.unreadable.data)["events"]]
    assert left_out == case["unknown"], "only those are left to it"


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
    assert (*address, address.live) == (case["stream"], case["stored"], case["live"])
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


def _trace(case: dict[str, Any]) -> TraceContext | None:
    return TraceContext(**case["trace"]) if "trace" in case else None


@pytest.mark.parametrize("case", PUBLICATIONS, ids=name_of)
def test_publications(case: dict[str, Any]) -> None:
    decoded = publications.decode_publication(_headers(case), wire_bytes(case, "body"))
    publication = build(messages.Publication, case["publication"])
    if case.get("canonical", True):
        assert decoded == publication
        assert publications.encode_headers(publication, case["message_id"], trace=_trace(case)) == _headers(case)
    else:
        assert bytes(decoded.data).decode() == case.get("data", case["body"])
        assert json.loads(msgspec.json.encode(decoded)) == case["publication"]


@pytest.mark.parametrize("case", load("publications.json", "invalid"), ids=name_of)
def test_data_that_is_not_a_publication_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(publications.BadPublication):
        publications.decode_publication(_headers(case), wire_bytes(case, "body"))


@pytest.mark.parametrize("case", load("publications.json", "live"), ids=name_of)
def test_live_messages(case: dict[str, Any]) -> None:
    live = publications.decode_live(_headers(case), wire_bytes(case, "body"))
    assert (live.sequence, live.previous) == (case["sequence"], case["previous"])
    wanted = case["publication"]
    assert live.publication == (wanted and build(messages.Publication, wanted))
    assert live.trace == _trace(case)


@pytest.mark.parametrize("case", load("publications.json", "not_live"), ids=name_of)
def test_messages_that_jetstream_did_not_republish(case: dict[str, Any]) -> None:
    with pytest.raises(publications.BadPublication):
        publications.decode_live(_headers(case), b"1")


# --- completeness ---------------------------------------------------------------------------------------------------


def _structs(value: object) -> Iterator[Struct]:
    """All structs in a message."""
    if isinstance(value, Struct):
        yield value
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


def _message_types() -> set[type]:
    return {kind for module in (commands, messages, replies) for kind in _defined(module, Struct)}


def _messages_shown() -> list[Struct]:
    return [
        *(build(commands.Command, command) for case in (*COMMANDS, *PROTOBUF_COMMANDS) for command in case["commands"]),
        *(build(replies.Reply, case["reply"]) for case in (*REPLIES, *PROTOBUF_REPLIES)),
        *(build(replies.Push, case["push"]) for case in PUSHES),
        *(build(commands.EmulationRequest, case["request"]) for case in EMULATION),
    ]


def test_every_message_type_has_a_vector() -> None:
    shown = {type(message) for message in _structs(_messages_shown())}
    assert _message_types() - {messages.Message} == shown


def test_every_field_has_a_vector() -> None:
    """One in which it is not its default."""
    shown = {
        (type(message).__name__, name)
        for message in _structs(_messages_shown())
        for name in message.__struct_fields__
        if getattr(message, name) or _default(message, name) is NODEFAULT
    }
    fields = {
        (kind.__name__, name)
        for kind in _message_types()
        for name in kind.__struct_fields__  # type: ignore[attr-defined]  # structs
    }
    assert fields == shown


def _default(message: Struct, name: str) -> Any:
    return next(field.default for field in msgspec.structs.fields(message) if field.name == name)


def test_every_event_and_every_load_has_a_vector() -> None:
    batches = [build(events.EventBatch, case["batch"]) for case in BATCHES]
    assert _defined(events, Struct) - {events.Event} == set(map(type, _structs(batches)))
    beats = [build(telemetry.Heartbeat, case["heartbeat"]) for case in HEARTBEATS]
    assert _defined(telemetry, Struct) == set(map(type, _structs(beats)))


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
