"""How messages look on each transport (reference 1.2, 1.5 and 5)."""

from __future__ import annotations

import json
import random

import pytest
from msgspec import Raw

from proto.codec import NotEncodable
from proto.codec_protobuf import decode_replies
from proto.codes import BAD_REQUEST_CLOSE
from proto.messages import Error, Publication
from proto.replies import Connect, Push, Reply
from services.edge.client_settings import TRANSPORTS
from services.edge.framing import formats
from services.edge.framing.deflate import inflate
from services.edge.framing.formats import Compression, Format
from services.edge.framing.wire import BINARY, CLOSE, COMPRESSED, PING, TEXT, parse_close
from tests.support.transport import frames_in

ALL = [
    formats.WEBSOCKET_JSON,
    formats.WEBSOCKET_PROTOBUF,
    formats.UNI_WEBSOCKET,
    formats.SSE,
    formats.UNI_SSE,
    formats.HTTP_STREAM_JSON,
    formats.HTTP_STREAM_PROTOBUF,
    formats.UNI_HTTP_STREAM,
]
ONE = Reply(push=Push(channel="a", pub=Publication(Raw(b'{"n":1}'))))
TWO = Reply(push=Push(channel="b", pub=Publication(Raw(b"2"))))


def written(format: Format, *replies: Reply) -> bytes:
    return format.frame([format.encode(reply) for reply in replies])


def test_json_on_a_websocket_is_lines_in_one_text_frame() -> None:
    ((opcode, body),) = frames_in(written(formats.WEBSOCKET_JSON, ONE, TWO))
    assert opcode == TEXT
    assert body == (
        b'{"push":{"channel":"a","pub":{"data":{"n":1}}}}\n{"push":{"channel":"b","pub":{"data":2}}}'
    )  # fmt: skip


def test_protobuf_on_a_websocket_is_one_binary_frame() -> None:
    ((opcode, body),) = frames_in(written(formats.WEBSOCKET_PROTOBUF, ONE, TWO))
    assert opcode == BINARY and decode_replies(body) == [ONE, TWO]


def test_a_unidirectional_websocket_gets_one_push_a_frame_and_no_reply_around_it() -> None:
    assert frames_in(written(formats.UNI_WEBSOCKET, ONE, TWO)) == [
        (TEXT, b'{"channel":"a","pub":{"data":{"n":1}}}'),
        (TEXT, b'{"channel":"b","pub":{"data":2}}'),
    ]


def test_events() -> None:
    assert written(formats.SSE, ONE, TWO) == (
        b'data: {"push":{"channel":"a","pub":{"data":{"n":1}}}}\n\ndata: {"push":{"channel":"b","pub":{"data":2}}}\n\n'
    )
    assert written(formats.UNI_SSE, TWO) == b'data: {"channel":"b","pub":{"data":2}}\n\n'


def test_streams() -> None:
    assert written(formats.HTTP_STREAM_JSON, ONE, TWO) == (
        b'{"push":{"channel":"a","pub":{"data":{"n":1}}}}\n{"push":{"channel":"b","pub":{"data":2}}}\n'
    )
    assert written(formats.UNI_HTTP_STREAM, TWO) == b'{"channel":"b","pub":{"data":2}}\n'
    assert decode_replies(written(formats.HTTP_STREAM_PROTOBUF, ONE, TWO)) == [ONE, TWO]


def test_the_first_message_of_a_unidirectional_transport_is_a_push_too() -> None:
    reply = Reply(push=Push(connect=Connect(client="c", version="v")))
    assert json.loads(formats.UNI_SSE.encode(reply)) == {"connect": {"client": "c", "version": "v"}}


@pytest.mark.parametrize("format", ALL, ids=lambda format: f"{format.transport}-{format.codec.name}")
def test_a_ping_is_an_empty_message(format: Format) -> None:
    empty = b"\x00" if format.codec.name == "protobuf" else b"{}"
    native = format.native_ping if format.pongs_natively else b""
    assert format.ping == format.frame([b"" if format.codec.name == "protobuf" else b"{}"]) + native
    assert empty in format.ping


@pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF, formats.UNI_WEBSOCKET])
def test_a_websocket_says_why_it_ends_in_its_close_frame(format: Format) -> None:
    *before, (opcode, body) = frames_in(format.farewell(BAD_REQUEST_CLOSE))
    assert (opcode, parse_close(body)) == (CLOSE, (3501, "bad request"))
    if format.unidirectional:
        assert before == [(TEXT, b'{"disconnect":{"code":3501,"reason":"bad request"}}')]
    else:
        assert before == []
    assert format.answers_close
    assert frames_in(format.native_ping) == [(PING, b"")]


@pytest.mark.parametrize(
    ("format", "said"),
    [
        (formats.SSE, b'data: {"push":{"disconnect":{"code":3501,"reason":"bad request"}}}\n\n'),
        (formats.UNI_SSE, b'data: {"disconnect":{"code":3501,"reason":"bad request"}}\n\n'),
        (formats.HTTP_STREAM_JSON, b'{"push":{"disconnect":{"code":3501,"reason":"bad request"}}}\n'),
        (formats.UNI_HTTP_STREAM, b'{"disconnect":{"code":3501,"reason":"bad request"}}\n'),
    ],
)
def test_where_nothing_else_can_say_it_a_push_does(format: Format, said: bytes) -> None:
    assert format.farewell(BAD_REQUEST_CLOSE) == said
    assert not format.answers_close and not format.native_ping


def test_their_names_are_those_of_the_settings() -> None:
    assert {format.transport for format in ALL} == set(TRANSPORTS)
    assert {format.transport for format in ALL if format.unidirectional} == {
        "uni_websocket",
        "uni_http_stream",
        "uni_sse",
    }


@pytest.mark.parametrize("format", ALL, ids=lambda format: f"{format.transport}-{format.codec.name}")
def test_bytes_that_are_not_json_are_for_protobuf_only(format: Format) -> None:
    reply = Reply(push=Push(channel="a", pub=Publication(Raw(b"\xff"))))
    if format.codec.name == "protobuf":
        assert format.encode(reply)
    else:
        with pytest.raises(NotEncodable):
            format.encode(reply)


def test_a_line_holds_one_message_whatever_the_payload() -> None:
    reply = Reply(push=Push(channel="a", pub=Publication(Raw(b'{\r\n "n": 1\n}'))))
    for format in (formats.SSE, formats.UNI_SSE, formats.HTTP_STREAM_JSON, formats.WEBSOCKET_JSON):
        assert b"\n" not in format.encode(reply) and b"\r" not in format.encode(reply)


class TestCompressed:
    """permessage-deflate."""

    LONG = Reply(push=Push(channel="a", pub=Publication(Raw(b'"' + b"again and " * 50 + b'"'))))
    PLAIN = (formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF, formats.UNI_WEBSOCKET)

    @pytest.mark.parametrize("plain", PLAIN, ids=lambda format: f"{format.transport}-{format.codec.name}")
    def test_it_says_the_same(self, plain: Format) -> None:
        format = formats.compressed(plain, Compression(15, 100))
        assert (format.transport, format.unidirectional) == (plain.transport, plain.unidirectional)
        assert format.codec is plain.codec
        framed = written(format, self.LONG)
        assert framed[0] & COMPRESSED
        ((opcode, body),) = frames_in(framed)
        assert [(opcode, inflate(body, 1000))] == frames_in(written(plain, self.LONG))
        assert format.ping == plain.ping
        assert format.farewell(BAD_REQUEST_CLOSE) == plain.farewell(BAD_REQUEST_CLOSE)

    def test_short_and_incompressible_payloads_stay_uncompressed(self) -> None:
        format = formats.compressed(formats.WEBSOCKET_PROTOBUF, Compression(15, 100))
        noise = Reply(push=Push(channel="a", pub=Publication(Raw(random.Random(1).randbytes(500)))))
        for reply in (ONE, noise):
            assert written(format, reply) == written(formats.WEBSOCKET_PROTOBUF, reply)

    def test_there_is_one_for_each_agreement(self) -> None:
        one, same = (formats.compressed(formats.WEBSOCKET_JSON, Compression(15, 100)) for _ in range(2))
        assert one is same
        assert formats.compressed(formats.WEBSOCKET_JSON, Compression(9, 100)) is not one


def test_errors_are_replies() -> None:
    assert json.loads(formats.SSE.encode(Reply(id=1, error=Error(100, "no")))) == {
        "id": 1,
        "error": {"code": 100, "message": "no"},
    }
