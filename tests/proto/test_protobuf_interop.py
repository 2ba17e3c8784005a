"""Protobuf as Google's implementation reads and writes it, with the schema that the stock Python SDK brings along."""

from __future__ import annotations

import io
from typing import Any

import pytest
from centrifuge.protocol import client_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]  # no types
from google.protobuf import proto as delimited
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no types
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw, Struct
from msgspec.structs import asdict

from proto import commands, messages, replies
from proto.codec import BadFrame
from proto.codec_protobuf import PROTOBUF, decode_emulation, decode_replies, encode_command
from proto.commands import Command, EmulationRequest, SubscribeRequest
from proto.layouts_protobuf import MAX_DEPTH
from proto.messages import FilterNode
from proto.replies import Push, Reply
from tests.proto.strategies import ANY_PAYLOADS, structs
from tests.proto.vectors import as_protobuf_tells, build, load, name_of

FEW = settings(max_examples=100, deadline=None)

TEXT, INT32, UINT64 = (
    getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name}") for name in ("STRING", "INT32", "UINT64")
)
RENAMED = {"Message": "AsyncMessage"}
NEWER = [
    ("SubscribeRequest", "type", 15, INT32),  # in the protocol, but not in the SDK's copy of the schema
    ("PublishRequest", "type", 3, INT32),
    ("SubRefreshRequest", "type", 3, INT32),
    ("PublishRequest", "idempotency_key", 100, TEXT),  # Fairlead's own
    ("PublishResult", "offset", 100, UINT64),
    ("PublishResult", "epoch", 101, TEXT),
]


TYPES = {**vars(messages), **vars(commands), **vars(replies)}


def _schema() -> Any:
    """The classes of the SDK's schema by name, with the newer fields, and without those that we leave out."""
    file = descriptor_pb2.FileDescriptorProto.FromString(client_pb2.DESCRIPTOR.serialized_pb)
    for described in file.message_type:
        kind = TYPES.get(RENAMED.get(described.name, described.name))
        for field in [field for field in described.field if kind and field.name not in kind.__struct_fields__]:
            described.field.remove(field)
    for message, name, number, kind in NEWER:
        described = next(one for one in file.message_type if one.name == message)
        optional = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        described.field.add(name=name, number=number, type=kind, label=optional)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    described = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(kind) for name, kind in described.items()}


SCHEMA = _schema()


def theirs(message: Struct) -> Any:
    """The message as Google's class of the same name."""
    return _filled(SCHEMA[type(message).__name__](), message)


def _filled(target: Any, message: Struct) -> Any:
    target.SetInParent()  # present, even when it is empty
    for name, value in asdict(message).items():
        match value:
            case Struct():
                _filled(getattr(target, name), value)
            case [Struct(), *_]:
                for item in value:
                    _filled(getattr(target, name).add(), item)
            case list():
                getattr(target, name).extend(value)
            case dict():
                entries = getattr(target, name)
                for key, item in value.items():
                    if isinstance(item, Struct):
                        _filled(entries[key], item)
                    else:
                        entries[key] = item
            case Raw():
                setattr(target, name, bytes(value))
            case _ if value is not None and value is not UNSET:
                setattr(target, name, value)
    return target


def decoded(message: bytes) -> Command:
    (command,) = PROTOBUF.decode_commands(PROTOBUF.join([message]), 1)
    return command


# --- valid messages -------------------------------------------------------------------------------------------------


@FEW
@given(structs(Reply, ANY_PAYLOADS))
def test_google_reads_our_replies(reply: Reply) -> None:
    wire, wanted = PROTOBUF.encode_reply(reply), theirs(reply)
    assert SCHEMA["Reply"].FromString(wire) == wanted
    assert len(wire) == wanted.ByteSize()  # no more bytes than needed
    client_pb2.Reply.FromString(wire)  # nor does the SDK trip over newer fields


@FEW
@given(structs(Push, ANY_PAYLOADS))
def test_google_reads_our_pushes(push: Push) -> None:
    assert SCHEMA["Push"].FromString(PROTOBUF.encode_push(push)) == theirs(push)


@FEW
@given(structs(Reply, ANY_PAYLOADS))
def test_we_read_replies_of_google(reply: Reply) -> None:
    again = SCHEMA["Reply"].FromString(PROTOBUF.encode_reply(reply)).SerializeToString()
    for wire in (again, theirs(reply).SerializeToString(deterministic=True)):
        assert decode_replies(PROTOBUF.join([wire])) == [as_protobuf_tells(reply)]


@FEW
@given(structs(Command, ANY_PAYLOADS))
def test_we_read_commands_of_google(command: Command) -> None:
    assert decoded(theirs(command).SerializeToString()) == command
    assert SCHEMA["Command"].FromString(encode_command(command)) == theirs(command)


@FEW
@given(structs(EmulationRequest, ANY_PAYLOADS))
def test_we_read_emulation_requests_of_google(request: EmulationRequest) -> None:
    assert decode_emulation(theirs(request).SerializeToString()) == request


@pytest.mark.parametrize("case", load("commands.json", "valid") + load("protobuf.json", "valid"), ids=name_of)
def test_google_reads_the_vectors_of_commands(case: dict[str, Any]) -> None:
    wire = case.get("protobuf_hex") or case.get("frame_hex")
    if wire is None:
        return  # a peculiarity of JSON
    rest, wanted = bytes.fromhex(wire), [theirs(build(Command, command)) for command in case["commands"]]
    if case.get("canonical", True):
        lengths = [command.ByteSize() for command in wanted]
        assert len(rest) == sum(lengths) + sum(1 if length < 128 else 2 for length in lengths)
    stream = io.BytesIO(rest)
    for command in wanted:
        read = delimited.parse_length_prefixed(SCHEMA["Command"], stream)
        read.DiscardUnknownFields()
        assert read == command
    assert not stream.read()


@pytest.mark.parametrize("case", load("replies.json", "replies"), ids=name_of)
def test_google_reads_the_vectors_of_replies(case: dict[str, Any]) -> None:
    wire, reply = bytes.fromhex(case["protobuf_hex"]), theirs(build(Reply, case["reply"]))
    assert SCHEMA["Reply"].FromString(wire) == reply
    assert len(wire) == reply.ByteSize()


# --- any bytes ------------------------------------------------------------------------------------------------------


def check_that_both_agree(message: bytes) -> None:
    """Both take the message and understand the same, or both refuse it. Only groups and singular fields that come twice
    are refused by us alone."""
    try:
        ours: Command | None = decoded(message)
    except BadFrame as error:
        if "wire type 3" in str(error) or "twice" in str(error):
            return
        ours = None
    try:
        google = SCHEMA["Command"].FromString(message)
    except DecodeError:
        google = None
    assert (ours is None) == (google is None)
    if ours is not None and google is not None:
        google.DiscardUnknownFields()
        assert google == theirs(ours)


@settings(max_examples=200, deadline=None)
@given(st.lists(structs(Command, ANY_PAYLOADS), min_size=1, max_size=2), st.data())
def test_both_agree_on_damaged_messages(commands: list[Command], data: st.DataObject) -> None:
    message = bytearray(b"".join(map(encode_command, commands)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(message)))
        message[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    check_that_both_agree(bytes(message))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(range(256)), max_size=16).map(bytes))
@example(b"\x88\x80\x80\x80\x80\x00\x01")  # a tag of six bytes
@example(b"\xba\x3e\x80\x80\x80\x80\x80\x00")  # a length of six
@example(b"\x2a\x80\x80\x80\x80\x80\x00")
@example(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\xf8\xff\xff\xff\x7f\x00")  # a field number of more than 29 bits
def test_both_agree_on_any_bytes(message: bytes) -> None:
    check_that_both_agree(message)


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 3])
def test_both_agree_on_deep_filters(depth: int) -> None:
    """We stop before Google does, which stops at 100."""
    node = FilterNode()
    for _ in range(depth):
        node = FilterNode(nodes=[node])
    check_that_both_agree(encode_command(Command(subscribe=SubscribeRequest(tf=node))))
