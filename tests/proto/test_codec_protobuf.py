"""Protobuf: any message comes back, as in JSON; proto3's rules of reading hold; any bytes are accepted or refused.

Google's implementation is held against it in test_protobuf_interop.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from proto import commands as c
from proto import messages as m
from proto import replies as r
from proto.codec import BadFrame, NotEncodable
from proto.codec_json import JSON
from proto.codec_protobuf import (
    MOST_FIELDS,
    PROTOBUF,
    decode_emulation,
    decode_replies,
    encode_command,
)
from proto.commands import Command
from proto.layouts_protobuf import MAX_DEPTH, Layouts
from proto.replies import Push, Reply
from proto.wire_protobuf import NUMBER_BITS, read_varint, varint
from tests.proto.strategies import ANY_PAYLOADS, structs
from tests.proto.vectors import as_protobuf_tells

FEW = settings(max_examples=100, deadline=None)
MOST = 2**64 - 1


def frame_of(*commands: Command) -> bytes:
    return PROTOBUF.join(map(encode_command, commands))


def leb128(number: int) -> bytes:
    head = b""
    while number > 127:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


def field(number: int, inner: bytes) -> bytes:
    """A message or text as a field with a number below 16."""
    return bytes([number << 3 | 2]) + leb128(len(inner)) + inner


def decoded(message: bytes) -> Command:
    (command,) = PROTOBUF.decode_commands(PROTOBUF.join([message]), 1)
    return command


# --- there and back -------------------------------------------------------------------------------------------------


@FEW
@given(st.lists(structs(Command, ANY_PAYLOADS), min_size=1, max_size=4))
def test_any_commands_come_back(commands: list[Command]) -> None:
    assert PROTOBUF.decode_commands(frame_of(*commands), 4) == commands


@FEW
@given(st.lists(structs(Reply, ANY_PAYLOADS), min_size=1, max_size=4))
def test_any_replies_come_back(replies: list[Reply]) -> None:
    frame = PROTOBUF.join(map(PROTOBUF.encode_reply, replies))
    assert decode_replies(frame) == list(map(as_protobuf_tells, replies))


@FEW
@given(structs(Command))
def test_a_command_is_the_same_in_both_encodings(command: Command) -> None:
    assert decoded(encode_command(command)) == JSON.decode_commands(msgspec.json.encode(command), 1)[0]


@FEW
@given(structs(Reply))
def test_a_reply_is_the_same_in_both_encodings(reply: Reply) -> None:
    (back,) = decode_replies(PROTOBUF.join([PROTOBUF.encode_reply(reply)]))
    assert back == as_protobuf_tells(msgspec.json.decode(JSON.encode_reply(reply), type=Reply))


def test_an_empty_payload_of_a_protobuf_client_is_no_hole_in_json() -> None:
    command = decoded(field(7, field(1, b"a") + field(2, b"")))
    assert msgspec.json.encode(command) == b'{"publish":{"channel":"a"}}'


@FEW
@given(structs(Push, ANY_PAYLOADS))
def test_a_push_alone_is_what_is_inside_of_a_reply(push: Push) -> None:
    wrapped = field(4, PROTOBUF.encode_push(push))
    assert wrapped == PROTOBUF.encode_reply(Reply(push=push))


def test_a_ping_is_a_message_of_no_bytes() -> None:
    assert PROTOBUF.ping == PROTOBUF.encode_reply(Reply()) == b""
    assert PROTOBUF.join([PROTOBUF.ping]) == b"\x00"
    assert decode_replies(b"\x00") == [Reply()]


def test_a_pong_is_a_message_of_no_bytes() -> None:
    assert PROTOBUF.decode_commands(b"\x00", 1) == [Command()]
    assert PROTOBUF.decode_commands(b"\x00\x02\x08\x05\x00", 3) == [Command(), Command(id=5), Command()]


@pytest.mark.parametrize(
    "result",
    [
        r.SubscribeResult(),
        r.UnsubscribeResult(),
        r.PublishResult(),
        r.PresenceResult({}),
        r.PresenceStatsResult(0, 0),
        r.HistoryResult([], "", 0),
        r.RPCResult(),
        r.RefreshResult(),
        r.SubRefreshResult(),
    ],
)
def test_a_result_is_present_even_when_it_is_empty(result: r.Result) -> None:
    wire = PROTOBUF.encode_reply(r.reply_to(3, result))
    assert len(wire) == 4
    assert wire.endswith(b"\x00")
    assert decode_replies(PROTOBUF.join([wire])) == [r.reply_to(3, result)]


def test_the_anonymous_user_is_an_absent_one() -> None:
    info = m.ClientInfo(user="", client="c")
    (back,) = decode_replies(PROTOBUF.join([PROTOBUF.encode_reply(Reply(push=Push(join=r.Join(info))))]))
    assert back.push is not None
    assert back.push.join == r.Join(m.ClientInfo(user=UNSET, client="c"))
    explicit = field(4, field(5, field(1, field(1, b"") + field(2, b"c"))))
    assert decode_replies(PROTOBUF.join([explicit])) == [back]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(id=2**32),
        Reply(id=-1),
        Reply(subscribe=r.SubscribeResult(offset=2**64)),
        Reply(subscribe=r.SubscribeResult(offset=-1)),
    ],
)
def test_a_number_that_does_not_fit_is_not_written_as_another(reply: Reply) -> None:
    with pytest.raises(NotEncodable, match="does not fit"):
        PROTOBUF.encode_reply(reply)


def test_an_emulation_request_is_read() -> None:
    request = c.EmulationRequest(node="n", session="s", data=Raw(b"\x00"))
    assert decode_emulation(b"\x0a\x01n\x12\x01s\x1a\x01\x00") == request
    assert decode_emulation(b"") == c.EmulationRequest()
    for broken in (b"\x0a", b"\x0a\x01", b"\x0a\x01\xff"):
        with pytest.raises(BadFrame):
            decode_emulation(broken)


@given(st.integers(0, MOST))
@example(127)
@example(128)
@example(16383)
@example(16384)
def test_numbers_take_as_few_bytes_as_they_need(number: int) -> None:
    assert varint(number) == leb128(number)
    assert read_varint(b"\xff" + varint(number) + b"\xff", 1, NUMBER_BITS) == (number, 1 + len(leb128(number)))


def test_a_field_without_a_number_is_found_at_the_start() -> None:
    for numbers in ("offset=1", "offset=1 epoch=2 more=3", "offset=1 epoch=1"):
        with pytest.raises(TypeError, match="StreamPosition"):
            Layouts({m.StreamPosition: numbers}).of(m.StreamPosition)


# --- proto3's rules of reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"\x08\x05\x08\x05",  # an id
        field(5, field(1, b"a") + field(1, b"a")),  # a text
        field(7, field(2, b"1") + field(2, b"1")),  # a payload
        field(5, field(1, b"a")) + field(5, field(2, b"t")),  # a request
        field(5, field(13, b"") + field(13, b"")),  # a message inside of one
        field(4, field(6, field(1, b"k") + field(1, b"k"))),  # the key of an entry
        field(4, field(3, field(2, b"") + field(2, b""))),
    ],
)
def test_a_singular_field_that_comes_twice_is_refused(message: bytes) -> None:
    """No client sends one: proto3 lets the last one win, or merges them, which is work without an end."""
    with pytest.raises(BadFrame, match="twice"):
        decoded(message)


def test_repeated_fields_come_as_often_as_they_like() -> None:
    tf = m.FilterNode(op="and", vals=["x", "y", ""], nodes=[m.FilterNode(key="k"), m.FilterNode(cmp="ex")])
    connect = c.ConnectRequest(headers={"a": "1", "b": "1"}, subs={"c": c.SubscribeRequest(token="t", offset=1)})
    command = Command(id=1, subscribe=c.SubscribeRequest(channel="a", tf=tf), connect=connect)
    assert decoded(encode_command(command)) == command
    entries = field(6, field(1, b"k") + field(2, b"1")) + field(6, field(1, b"k") + field(2, b"2"))
    assert decoded(field(4, entries)) == Command(connect=c.ConnectRequest(headers={"k": "2"}))  # the last entry counts


unknown = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda n: b"\xb8\x3e" + leb128(n)),  # field 999 in each wire type
    st.binary(min_size=8, max_size=8).map(lambda b: b"\xb9\x3e" + b),
    st.binary(max_size=127).map(lambda b: b"\xba\x3e" + bytes([len(b)]) + b),
    st.binary(min_size=4, max_size=4).map(lambda b: b"\xbd\x3e" + b),
    st.just(b"\x0a\x01\xff"),  # the id as text: a known number with another type, and not even text
    st.just(b"\x2d\x01\x02\x03\x04"),  # the subscribe request as a fixed number
    st.just(b"\xf8\xff\xff\xff\x0f\x00"),  # the greatest field number
)


@FEW
@given(structs(Command, ANY_PAYLOADS), unknown, unknown)
def test_unknown_fields_are_skipped(command: Command, before: bytes, behind: bytes) -> None:
    assert decoded(before + encode_command(command) + behind) == command


@pytest.mark.parametrize(
    ("message", "command"),
    [
        (b"\x08\x80\x80\x80\x80\x10", Command()),  # an id of 2^32
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Command(id=2**32 - 1)),
        (b"\x08\x85\x80\x00", Command(id=5)),  # with bytes to spare
        (b"\x88\x80\x00\x05", Command(id=5)),  # and so its tag
        (b"\x52\x0b\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Command(history=c.HistoryRequest(limit=-1))),
        (b"\x52\x06\x38\xff\xff\xff\xff\x0f", Command(history=c.HistoryRequest(limit=-1))),  # 32 bits do as well
        (b"\x52\x06\x38\x80\x80\x80\x80\x08", Command(history=c.HistoryRequest(limit=-(2**31)))),
        (b"\x52\x02\x48\x02", Command(history=c.HistoryRequest(reverse=True))),
        (b"\x52\x06\x48\x80\x80\x80\x80\x10", Command(history=c.HistoryRequest(reverse=True))),  # any bit does
        (b"\x52\x02\x42\x00", Command(history=c.HistoryRequest(since=m.StreamPosition()))),
        (b"\x2a\x0b\x70\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Command(subscribe=c.SubscribeRequest(flag=-1))),
        (b"\x2a\x0b\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", Command(subscribe=c.SubscribeRequest(offset=MOST))),
        (b"\x22\x02\x32\x00", Command(connect=c.ConnectRequest(headers={"": ""}))),  # an entry without key and value
        (b"\x22\x02\x1a\x00", Command(connect=c.ConnectRequest(subs={"": c.SubscribeRequest()}))),
        (b"\x22\x08\x32\x06\x12\x01v\x0a\x01k", Command(connect=c.ConnectRequest(headers={"k": "v"}))),
    ],
)  # fmt: skip
def test_numbers_and_entries_in_any_form(message: bytes, command: Command) -> None:
    assert decoded(message) == command


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",  # a length without a message
        b"\x80",
        b"\x80\x80\x80\x80\x80\x00",  # a length of six bytes
        b"\xff\xff\xff\xff\x0f",  # of 4 GiB
        b"\x01\x08",  # a tag without a value
        b"\x02\x08\x80\x01",  # a value that ends in the next message
        b"\x02\x2a\x01\x01",
        b"\x04\x2a\x03\x0a\x01a",  # a text that ends behind its message
        b"\x04\x2a\x02\x38\x80\x01",  # a number that ends behind its message
        b"\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # eleven bytes
        b"\x02\x00\x00",  # field number 0
        b"\x03\x02\x01a",
        b"\x07\x80\x80\x80\x80\x10\x00\x00",  # a field number beyond 29 bits
        b"\x02\x0b\x0c",  # a group
        b"\x02\xbb\x3e\xbc\x3e",
        b"\x02\x0e\x00",  # wire types that do not exist
        b"\x02\x0f\x00",
        b"\x05\x2a\x03\x0a\x01\xff",  # a text that is not UTF-8
        b"\x07\x2a\x05\x0a\x03\xed\xa0\x80",  # half a surrogate pair
        b"\x07\x22\x05\x32\x03\x0a\x01\xff",  # so in the key of a map
        b"\x03\xb9\x3e\x00",  # unknown fields that are cut off
        b"\x03\xba\x3e\x01",
        b"\x03\xbd\x3e\x00",
        b"\x03\xb8\x3e\x80",
    ],
    ids=bytes.hex,
)
def test_what_is_refused(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        PROTOBUF.decode_commands(frame, 8)


# --- any bytes ------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    """A subscribe command whose filter is nested so deep that `depth` messages are inside of each other."""
    node = b""
    for _ in range(depth - 3):
        node = field(6, node)
    return field(5, field(13, node))


def test_the_depth_is_bounded() -> None:
    command = decoded(nested(MAX_DEPTH))
    assert command.subscribe is not None
    for depth in (MAX_DEPTH + 1, 5_000):
        with pytest.raises(BadFrame, match="deep"):
            decoded(nested(depth))


def test_the_number_of_commands_is_bounded() -> None:
    frame = frame_of(*[Command(id=1)] * 4)
    assert len(PROTOBUF.decode_commands(frame, 4)) == 4
    with pytest.raises(BadFrame, match="more than 3"):
        PROTOBUF.decode_commands(frame, 3)


def test_a_command_for_all_that_a_client_needs_has_few_enough_fields() -> None:
    """After an outage: 128 subscriptions, in one connect or in one frame behind it."""
    back = c.SubscribeRequest(recover=True, epoch="abcd", offset=7, flag=1)
    connect = Command(id=1, connect=c.ConnectRequest(subs={f"room-{i}": back for i in range(128)}, token="t"))
    assert PROTOBUF.decode_commands(frame_of(connect), 256) == [connect]
    full = c.SubscribeRequest("room", "t", True, "abcd", 7, Raw(b"1"), True, True, True, "fossil", 1)
    subscribes = [Command(id=i, subscribe=full) for i in range(1, 129)]
    assert PROTOBUF.decode_commands(frame_of(*subscribes), 256) == subscribes


@pytest.mark.parametrize(
    "message",
    [
        field(5, field(13, b"\x32\x00" * 32_000)),
        field(4, b"\x1a\x00" * 32_000),
        field(4, b"\x32\x00" * 32_000),
        field(5, field(13, b"\x2a\x00" * 32_000)),
        b"\xb8\x3e\x01" * 21_000,
        field(5, b"\xb8\x3e\x01" * 21_000),
        field(5, field(13, field(6, b"\x32\x00" * 160) * 200)),
    ],
    ids=["nodes", "subs", "headers", "vals", "unknown", "unknown inside", "nodes of nodes"],
)
def test_a_hostile_frame_is_refused_when_it_has_more_fields_than_commands_need(message: bytes) -> None:
    with pytest.raises(BadFrame, match="too many fields"):
        PROTOBUF.decode_commands(PROTOBUF.join([message]), 256)


def test_the_fields_of_all_commands_of_a_frame_count() -> None:
    unknown_fields = b"\xb8\x3e\x01" * 2_000
    PROTOBUF.decode_commands(PROTOBUF.join([unknown_fields] * 2), 8)
    with pytest.raises(BadFrame, match="too many fields"):
        PROTOBUF.decode_commands(PROTOBUF.join([unknown_fields] * 3), 8)
    assert len(PROTOBUF.decode_commands(PROTOBUF.join([unknown_fields] * 3), 512)) == 3, "more commands, more fields"


def test_no_setting_allows_more_fields_than_an_edge_can_read_in_time() -> None:
    with pytest.raises(BadFrame, match="too many fields"):
        PROTOBUF.decode_commands(PROTOBUF.join([b"\xb8\x3e\x01" * (MOST_FIELDS + 2)]), 10_001)
    back = c.SubscribeRequest(recover=True, epoch="abcd", offset=7, flag=1)
    connect = Command(id=1, connect=c.ConnectRequest(subs={f"room-{i}": back for i in range(8_000)}))
    assert PROTOBUF.decode_commands(frame_of(connect), 10_001) == [connect]


def check(frame: bytes) -> None:
    try:
        commands = PROTOBUF.decode_commands(frame, 8)
    except BadFrame as error:
        assert str(error)
        return
    assert 1 <= len(commands) <= 8
    assert PROTOBUF.decode_commands(frame_of(*commands), 8) == commands


tags = st.sampled_from(b"\x08\x22\x2a\x3a\x52\x6a\x32\x1a\x0a\x12\x38").map(lambda byte: bytes([byte]))
numbers = st.sampled_from([0, 1, 2, 5, 128, 2**31 - 1, MOST]).map(leb128)
parts = st.lists(tags | numbers | st.binary(max_size=3), max_size=20).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | parts | parts.map(lambda message: PROTOBUF.join([message[:127]])))
@example(b"\xff" * 100_000)
@example(b"\x2a" * 60_000)
def test_any_bytes_are_commands_or_a_bad_frame(frame: bytes) -> None:
    check(frame)


@settings(max_examples=200, deadline=None)
@given(structs(Command, ANY_PAYLOADS), st.data())
def test_a_damaged_frame_is_commands_or_a_bad_frame(command: Command, data: st.DataObject) -> None:
    frame = bytearray(frame_of(command))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(frame)))
        frame[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    check(bytes(frame))


@FEW
@given(structs(Command, ANY_PAYLOADS))
def test_a_frame_that_is_cut_off_is_refused(command: Command) -> None:
    frame = frame_of(command)
    for end in range(len(frame)):
        with pytest.raises(BadFrame):
            PROTOBUF.decode_commands(frame[:end], 1)
