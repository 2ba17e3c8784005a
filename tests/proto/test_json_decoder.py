"""JSON of others: half of an emoji, null, and any depth are no reason to refuse a message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType

from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA
from proto.nesting import MAX_NESTING, nesting


class Node(Struct, frozen=True):
    name: str = ""
    nodes: list[Node] = []


class Message(Struct, frozen=True):
    id: int = 0
    flag: bool = False
    text: str = ""
    data: Raw = NO_DATA
    extra: Raw | UnsetType = UNSET
    node: Node | None = None
    tags: dict[str, str] = {}
    inner: dict[str, Node] = {}


MESSAGES: JsonDecoder[Message] = JsonDecoder(Message, replaces_halves=True)
STRICT: JsonDecoder[Message] = JsonDecoder(Message)
PAYLOADS: JsonDecoder[Raw] = JsonDecoder(Raw)

HALVES = [
    r'"\ud83d"',
    r'"\uDE00"',
    r'"a\ud83d"',
    r'"\ud83db"',
    r'"\ud83d\n"',
    r'"\ud83d\ud83d\ude00"',
    r'"\ude00\ud83d"',
    r'"\\\ud83d"',
    r'{"\ud83d":["\udfff"]}',
    r'"\ud83d\u0041"',
]


@pytest.mark.parametrize("half", HALVES)
def test_half_of_an_emoji_in_a_payload_is_passed_on_byte_for_byte(half: str) -> None:
    assert bytes(PAYLOADS.decode(half.encode())) == half.encode()
    message = MESSAGES.decode(b'{"id":7,"data":%s,"unknown":%s}' % (half.encode(), half.encode()))
    assert message.id == 7 and bytes(message.data) == half.encode()


def test_in_text_that_is_read_it_is_replaced_or_refused() -> None:
    message = MESSAGES.decode(rb'{"text":"a\ud83d","tags":{"k\ude00":"\ud83d\ude00\ud83d"},"node":{"name":"\udfffz"}}')
    assert message.text == "a\ufffd" and message.tags == {"k\ufffd": "😀\ufffd"}
    assert message.node == Node("\ufffdz")
    for text in (rb'{"text":"a\ud83d"}', rb'{"tags":{"k\ude00":"v"}}', rb'{"node":{"name":"\udfffz"}}'):
        with pytest.raises(DecodeError, match="half of a surrogate pair"):
            STRICT.decode(text)
    assert bytes(STRICT.decode(rb'{"text":"\ud83d\ude00","data":"\ud83d"}').data) == rb'"\ud83d"'


@pytest.mark.parametrize(
    "text", [rb"\ud83d", rb"[\ud83d]", rb'"\ud83"', rb'"\ud83g"', rb'{"id":\ud83d}', b'"\xed\xa0\xbd"']
)
def test_what_is_no_json_beside_half_of_an_emoji_stays_so(text: bytes) -> None:
    for decoder in (PAYLOADS, MESSAGES):
        with pytest.raises(DecodeError):
            decoder.decode(text)


@given(st.lists(st.sampled_from([*'\\u/"ad8~ ', "\\ud83d", "\\ude00", "\\\\", "😀"]), max_size=12).map("".join))
@example("\\ud83d\\")
@settings(max_examples=300, deadline=None)
def test_the_standard_library_draws_the_same_line_for_any_string(content: str) -> None:
    text = f'"{content}"'.encode()
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(DecodeError):
            PAYLOADS.decode(text)
    else:
        assert bytes(PAYLOADS.decode(text)) == text


# --- null -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", Message.__struct_fields__)
def test_null_is_the_same_as_a_field_that_is_left_out(name: str) -> None:
    assert MESSAGES.decode(b'{"%s": null }' % name.encode()) == Message()


def test_so_it_is_within_structs_lists_and_maps_but_not_within_payloads() -> None:
    text = b'{"id":null,"data":{"a":null,"b":[null]},"tags":{"b":"c"},"text":"null",'
    text += b'"node":{"name":null,"nodes":[{"nodes":null,"name":"x"}]},"inner":{"y":{"name":null}}}'
    message = MESSAGES.decode(text)
    assert bytes(message.data) == b'{"a":null,"b":[null]}' and message.text == "null"
    assert message.tags == {"b": "c"} and message.inner == {"y": Node()}
    assert message.node == Node(nodes=[Node("x")])


@pytest.mark.parametrize(
    "text",
    [
        b"null",
        b'{"id":"null"}',
        b'{"id":[null]}',
        b'{"node":{"nodes":[null]}}',
        b'{"inner":{"y":null}}',
        b'{"tags":{"y":null}}',
        b'{"id":nul}',
    ],
)
def test_null_in_another_place_is_what_it_was(text: bytes) -> None:
    with pytest.raises(DecodeError):
        MESSAGES.decode(text)


# --- depth ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [200, 975, 3000, 100_000])
def test_no_depth_keeps_a_message_from_being_read(levels: int) -> None:
    deep = b"[" * levels + b"]" * levels
    message = MESSAGES.decode(b'{"unknown":%s,"data":%s,"id":7}' % (deep, deep))
    assert message.id == 7 and nesting(bytes(message.data)) > MAX_NESTING


def test_a_text_that_does_not_end_is_none() -> None:
    for text in (b"[" * 100_000, b'{"data":' * 50_000, b'{"node":{"nodes":[' * 30_000):
        with pytest.raises(DecodeError):
            MESSAGES.decode(text)


def test_all_at_once() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    message = MESSAGES.decode(rb'{"id":null,"text":"\ud83d","data":%s,"flag":null}' % deep)
    assert (message.id, message.text, message.tags) == (0, "\ufffd", {})
    assert nesting(bytes(message.data)) > MAX_NESTING


@given(
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.text(max_size=3),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(Message.__struct_fields__), x),
        max_leaves=6,
    )
    .map(json.dumps)
    .map(str.encode)
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_message_or_an_error(text: bytes) -> None:
    try:
        value: Any = MESSAGES.decode(text)
    except DecodeError:
        return
    assert isinstance(value, Message)
