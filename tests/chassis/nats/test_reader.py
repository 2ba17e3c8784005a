"""Our reader against nats-py's parser: the same bytes, cut anywhere, give the same messages in the same order."""

from __future__ import annotations

import contextlib
import itertools

from hypothesis import example, given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from services.chassis.nats.reader import Listener, MessageReader

OURS, THEIRS = (1, 22, 333), (4, 55)
CRLF = b"\r\n"

Heard = list[tuple[object, ...]]


class Client:
    """The client that nats-py's parser calls. The messages of both parsers end in the same list."""

    def __init__(self) -> None:
        self.heard: Heard = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.heard.append((sid, subject, reply, headers, data))

    async def _process_ping(self) -> None:
        self.heard.append(("ping",))

    async def _process_pong(self) -> None:
        self.heard.append(("pong",))

    async def _process_err(self, error: str) -> None:
        self.heard.append(("error", error))

    async def _process_info(self, info: dict[str, object]) -> None:
        self.heard.append(("info", str(info)))

    def listener(self, sid: int) -> Listener:
        return Listener(
            lambda subject, reply, headers, data: self.heard.append((sid, subject, reply, headers, data)), b""
        )


async def by_nats_py(wire: bytes) -> Heard:
    client = Client()
    await Parser(client).parse(wire)
    return client.heard


async def by_us(chunks: list[bytes]) -> Heard:
    client = Client()
    reader = MessageReader({b"%d" % sid: client.listener(sid) for sid in OURS})
    rest = Parser(client)
    for chunk in chunks:
        for piece in reader.feed(chunk):
            await rest.parse(piece)
    return client.heard


tokens = st.text("abz.*>%20-_", min_size=1, max_size=20).map(str.encode)
sids = st.sampled_from([*OURS, *THEIRS, 9])
bodies = st.binary(max_size=300) | st.sampled_from([CRLF, b"MSG a 1 2\r\nxx\r\n", b"PING\r\n"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    words = [draw(tokens), b"%d" % draw(sids)]
    if draw(st.booleans()):
        words.append(draw(tokens))
    body = draw(bodies)
    if draw(st.booleans()):
        headers = b"NATS/1.0\r\n" + draw(bodies) + CRLF
        return (
            b" ".join([b"HMSG", *words, b"%d %d" % (len(headers), len(headers + body))]) + CRLF + headers + body + CRLF
        )
    return b" ".join([b"MSG", *words, b"%d" % len(body)]) + CRLF + body + CRLF


others = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Slow Consumer'\r\n", b'INFO {"server_id":"a b"}\r\n', b"PING \r\n"]
)
streams = st.lists(messages() | others, max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 3000), max_size=6))
async def test_cut_anywhere_the_same_messages_come_in_the_same_order(wire: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(min(cut, len(wire)) for cut in cuts), len(wire)})
    chunks = [wire[a:b] for a, b in itertools.pairwise(places)]
    assert await by_us(chunks) == await by_nats_py(wire)


async def test_every_single_cut_of_every_kind_of_message() -> None:
    wire = (
        b"MSG a 1 3\r\nxyz\r\nMSG a.b 22 reply 0\r\n\r\nHMSG c 333 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n"
        b"HMSG c 4 r 12 12\r\nNATS/1.0\r\n\r\n\r\nMSG d 9 2\r\n\r\n\r\nMSG e 1 1\r\n!\r\n"
    )
    expected = await by_nats_py(wire)
    assert len(expected) == 7
    for cut in range(len(wire) + 1):
        assert await by_us([wire[:cut], wire[cut:]]) == expected
    assert await by_us([wire[i : i + 1] for i in range(len(wire))]) == expected


@given(st.binary(max_size=80) | st.text("MSGH a1\r\n-5", max_size=60).map(str.encode))
@example(b"MSG a 1 -5\r\n\r\n")
@example(b"HMSG a 1 20 5\r\nNATS/1.0\r\n\r\n\r\n")
@example(b"MSG 1 5\r\nhello\r\n")
@example(b"\r\n\r\n")
async def test_nonsense_is_left_to_nats_py_and_ends(garbage: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        await by_us([garbage])


def test_a_size_that_makes_no_sense_is_no_message() -> None:
    reader = MessageReader({b"1": Client().listener(1)})
    for line in (b"MSG a 1 -15\r\n", b"HMSG a 1 20 5\r\n", b"HMSG a 1 -2 5\r\n", b"MSG a 1 x\r\n"):
        assert list(reader.feed(line)) == [line]


async def test_a_large_message_is_put_together_from_its_parts() -> None:
    body = bytes(range(256)) * 4096
    wire = b"MSG a 1 %d\r\n%b\r\nMSG a 1 1\r\n!\r\n" % (len(body), body)
    heard = await by_us([wire[i : i + 32768] for i in range(0, len(wire), 32768)])
    assert heard == [(1, b"a", b"", None, body), (1, b"a", b"", None, b"!")]


async def test_a_handler_that_fails_does_not_end_the_others(caplog) -> None:
    def fails(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        raise ValueError("a bug")

    client = Client()
    reader = MessageReader({b"1": Listener(fails, b""), b"22": client.listener(22)})
    assert list(reader.feed(b"MSG bad 1 1\r\n!\r\nMSG good 22 1\r\n!\r\n")) == []
    assert [each[1] for each in client.heard] == [b"good"]
    assert "the handler of a message on bad failed" in caplog.text


def test_bytes_left_over_from_an_old_connection_do_not_reach_the_new_one() -> None:
    client = Client()
    reader = MessageReader({b"1": client.listener(1)})
    assert list(reader.feed(b"MSG a 1 100\r\nhalf a mess")) == []
    reader.reset()
    assert list(reader.feed(b"MSG b 1 1\r\n!\r\n")) == []
    pieces = reader.feed(b"-ERR 'Stale Connection'\r\nMSG c 1 1\r\n!\r\n")
    next(pieces)
    reader.reset()  # as nats-py does
    assert list(pieces) == []
    assert [each[1] for each in client.heard] == [b"b"]
