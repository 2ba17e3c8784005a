"""JSON: frames become commands for any bytes, and only JSON is sent, whatever was published."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proto import replies as r
from proto.codec import BadFrame, NotEncodable, payload
from proto.codec_json import JSON
from proto.commands import Command
from proto.messages import Publication
from proto.replies import Push, Reply
from tests.proto.strategies import structs

FEW = settings(max_examples=100, deadline=None)

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
@example(b'{"subscribe":{"tf":' + b'{"nodes":[' * 50_000)
def test_any_bytes_are_commands_or_a_bad_frame(frame: bytes) -> None:
    try:
        commands = JSON.decode_commands(frame, 8)
    except BadFrame as error:
        assert str(error)
        return
    assert 1 <= len(commands) <= 8
    assert all(isinstance(command, Command) for command in commands)
    frame.decode()  # accepted data is UTF-8, so that it can be handed on in text frames


def test_the_number_of_commands_is_bounded() -> None:
    frame = b'{"id":1}\n' * 4
    assert len(JSON.decode_commands(frame, 4)) == 4
    with pytest.raises(BadFrame, match="more than 3 commands in a frame"):
        JSON.decode_commands(frame, 3)


@FEW
@given(frames)
@example(b"1e400")
@example(b"9" * 5000)
@example(b'"\\ud800"')
def test_data_that_a_command_may_embed_is_a_payload(data: bytes) -> None:
    """An acknowledged publication must be readable from the log: both sides draw the same line."""
    try:
        (command,) = JSON.decode_commands(b'{"id":1,"publish":{"channel":"a","data":' + data + b"}}", 1)
    except BadFrame:
        return
    assert command.publish is not None
    payload(bytes(command.publish.data))


# --- encoding -------------------------------------------------------------------------------------------------------

Around = Callable[[Publication], Reply]


def _result(publication: Publication) -> r.SubscribeResult:
    return r.SubscribeResult(publications=[publication])


HOLDERS: dict[str, Around] = {
    "push": lambda pub: Reply(push=Push(channel="a", pub=pub)),
    "subscribe": lambda pub: Reply(id=1, subscribe=r.SubscribeResult(publications=[Publication(Raw(b"1")), pub])),
    "history": lambda pub: Reply(id=1, history=r.HistoryResult([Publication(Raw(b"1")), pub], "e", 2)),
    "connect": lambda pub: Reply(
        id=1,
        connect=r.ConnectResult("c", "v", subs={"b": r.SubscribeResult(), "a": r.SubscribeResult(publications=[pub])}),
    ),
    "connect push": lambda pub: Reply(
        push=Push(connect=r.Connect("c", "v", subs={"a": r.SubscribeResult(publications=[pub])}))
    ),
}
"""Every place of a publication in a reply."""

in_every_place = pytest.mark.parametrize("around", HOLDERS.values(), ids=HOLDERS)

NOT_JSON = [b"hello", b"\xff\x00", b'"\xff"', b"1\n2", b'{"a":1', b'1},"offset":9', b'1}}\n{"id":1', b"1,"]


def offsets_in(value: Any) -> list[int]:
    """Every offset of a publication in decoded JSON."""
    if isinstance(value, dict):
        own = [value["offset"]] if "data" in value and "offset" in value else []
        return own + [offset for inner in value.values() for offset in offsets_in(inner)]
    return [offset for inner in value for offset in offsets_in(inner)] if isinstance(value, list) else []


@in_every_place
def test_an_empty_payload_is_null(around: Around) -> None:
    """A JSON client hears that something was published."""
    assert b'"data":null' in JSON.encode_reply(around(Publication(data=Raw(b""), offset=5)))


@in_every_place
@pytest.mark.parametrize("data", NOT_JSON)
def test_data_that_is_not_json_is_not_sent(around: Around, data: bytes) -> None:
    """Not even where it would make a message that looks well: it would put fields and messages into others' mouths."""
    reply = around(Publication(data=Raw(data), offset=5))
    with pytest.raises(NotEncodable, match="not JSON"):
        JSON.encode_reply(reply)
    if reply.push is not None:
        with pytest.raises(NotEncodable, match="not JSON"):
            JSON.encode_push(reply.push)


@in_every_place
@given(frames)
@example(b'1},"offset":9')
@example(b'{"a":\r\n[1]}')
@settings(max_examples=50, deadline=None)
def test_any_publication_is_one_line_with_its_own_offset_or_refused(around: Around, data: bytes) -> None:
    try:
        wire = JSON.encode_reply(around(Publication(data=Raw(data), offset=5)))
    except NotEncodable:
        return
    assert b"\n" not in wire
    wire.decode()
    assert offsets_in(json.loads(wire)) == [5]


@in_every_place
def test_line_breaks_of_a_payload_are_taken_out(around: Around) -> None:
    wire = JSON.encode_reply(around(Publication(data=Raw(b'{\r\n  "a": "\\n"\n}'))))
    assert b'{  "a": "\\n"}' in wire
    assert b"\n" not in wire
    assert b"\r" not in wire


@FEW
@given(structs(Push))
def test_a_push_alone_is_what_is_inside_of_a_reply(push: Push) -> None:
    alone, inside = JSON.encode_push(push), JSON.encode_reply(Reply(push=push))
    assert inside == b'{"push":' + alone + b"}"


@FEW
@given(st.lists(structs(Command), min_size=1, max_size=4))
def test_joined_messages_are_a_frame(commands: list[Command]) -> None:
    frame = JSON.join(map(msgspec.json.encode, commands))
    assert JSON.decode_commands(frame, 4) == commands
    assert JSON.decode_commands(frame + b"\n", 4) == commands


def test_a_ping_is_the_empty_reply() -> None:
    assert JSON.encode_reply(Reply()) == JSON.ping == b"{}"
    assert json.loads(JSON.join([JSON.ping])) == {}
