"""The client's half of RFC 6455 against a stock implementation of the server's half."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from perf.load import frames


@given(st.binary(max_size=70_000))
def test_a_stock_server_reads_what_the_client_sends(payload: bytes) -> None:
    server = ServerProtocol(state=State.OPEN, max_size=None)
    server.receive_data(frames.frame(frames.BINARY, payload))
    assert server.events_received() == [Frame(Opcode.BINARY, payload)]


@given(st.lists(st.text(max_size=200), max_size=5), st.lists(st.integers(0, 1100), max_size=6))
def test_frames_of_a_stock_server_are_read_however_they_are_cut(texts: list[str], cuts: list[int]) -> None:
    server = ServerProtocol(state=State.OPEN)
    for text in texts:
        server.send_text(text.encode())
    stream = b"".join(server.data_to_send())
    found, rest = [], b""
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        more, rest = frames.take_frames(rest + stream[start:end])
        found += more
    assert found == [(frames.TEXT, text.encode()) for text in texts]
    assert rest == b""


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 200_000])
def test_every_length_encoding_is_read(size: int) -> None:
    server = ServerProtocol(state=State.OPEN)
    server.send_binary(b"x" * size)
    assert frames.take_frames(b"".join(server.data_to_send())) == ([(frames.BINARY, b"x" * size)], b"")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x01\x01a", "fragmented"),
        (b"\x80\x01a", "fragmented"),
        (b"\xc1\x01a", "reserved"),
        (b"\x81\x81\0\0\0\0a", "mask"),
        (b"\x82\x7f" + (2**40).to_bytes(8, "big"), "at most"),
    ],
)
def test_a_broken_frame_is_named(data: bytes, what: str) -> None:
    with pytest.raises(frames.BadFrame, match=what):
        frames.take_frames(data)


def test_a_close_frame_is_read_back() -> None:
    assert frames.close_status(b"\x03\xe9shutdown") == (1001, "shutdown")
    assert frames.close_status(b"") == (1005, "")


@pytest.mark.parametrize("head", [b"HTTP/1.1 101 ok\r\nSec-WebSocket-Accept: no", b"HTTP/1.1 101 ok", b"garbage"])
def test_a_wrong_handshake_is_not_taken(head: bytes) -> None:
    with pytest.raises(frames.BadFrame):
        frames.upgrade_status(head)
