"""Frames to commands, payloads to embeddable values, for any bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto import codec
from proto.messages import Command, Publication, Push, Reply

FEW = settings(max_examples=100, deadline=None)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
pieces = st.sampled_from([*b'{}[]"\\:,\n\r -\xff']).map(lambda byte: bytes((byte,))) | st.sampled_from(
    [
        b"null",
        b"1e999",
        b"9" * 400,
        b"\\ud800",
        b"\\u0000",
        b"\xed\xa0\x80",
        b'"id"',
        b'"publish"',
        b'"data"',
        b'"connect"',
    ]
)
frames = st.binary(max_size=60) | st.lists(pieces, max_size=30).map(b"".join)


@FEW
@given(frames)
@example(b'{"connect":{"token":"\xff"}}')
@example(b'{"publish":{"data":"\xff"}}')
@example(b'{"send":{"data":' + b"[" * 100_000)
def test_any_bytes_are_commands_or_a_bad_frame(frame: bytes) -> None:
    try:
        commands = codec.decode_commands(frame, 8)
    except codec.BadFrame as error:
        assert str(error)
        return
    assert 1 <= len(commands) <= 8
    assert all(isinstance(command, Command) for command in commands)
    frame.decode()  # what was taken is UTF-8, so that it can be handed on in text frames


def test_the_number_of_commands_is_bounded() -> None:
    frame = b'{"id":1}\n' * 4
    assert len(codec.decode_commands(frame, 4)) == 4
    with pytest.raises(codec.BadFrame, match="4 commands in a frame, at most 3"):
        codec.decode_commands(frame, 3)


@FEW
@given(json_values, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_a_payload_keeps_its_value_and_loses_its_line_breaks(
    value: object, indent: int | str | None, crlf: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=not crlf)
    embedded = bytes(codec.payload(text.replace("\n", "\r\n").encode() if crlf else text.encode()))
    assert b"\n" not in embedded
    assert b"\r" not in embedded
    assert json.loads(embedded) == value


@pytest.mark.parametrize("data", [b"1", b'  {"a" : [ 1 ]}', b'"\\n"', b"1.50", b"-0", b"1e400", b"9" * 5000])
def test_a_payload_without_line_breaks_is_handed_on_byte_for_byte(data: bytes) -> None:
    assert bytes(codec.payload(data)) == data


@pytest.mark.parametrize(
    "data", [b"", b" ", b"hello", b"01", b"1 2", b"{1:2}", b'"\xff"', b'"a\nb"', b"[" * 100_000, b"NaN"]
)
def test_what_is_not_json_is_no_payload(data: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        codec.payload(data)


@FEW
@given(frames)
@example(b"1e400")
@example(b"9" * 5000)
@example(b'"\\ud800"')
def test_what_a_command_may_embed_is_a_payload(data: bytes) -> None:
    """An acknowledged publication must be readable from the log: both sides draw the same line."""
    try:
        (command,) = codec.decode_commands(b'{"id":1,"publish":{"channel":"a","data":' + data + b"}}", 1)
    except codec.BadFrame:
        return
    assert command.publish is not None
    codec.payload(bytes(command.publish.data))


@FEW
@given(st.text(), json_values, st.integers(0, 2**63))
def test_a_publication_push_is_the_reply_that_it_stands_for(channel: str, value: object, offset: int) -> None:
    publication = Publication(data=codec.payload(json.dumps(value).encode()), offset=offset)
    whole = codec.encode_reply(Reply(push=Push(channel=channel, pub=publication)))
    if channel:  # an empty one would be left out, and no channel is empty
        assert codec.encode_publication_push(channel, publication) == whole
    assert b"\n" not in whole
