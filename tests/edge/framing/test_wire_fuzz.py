"""The wire for any bytes: against itself, and against the `websockets` package."""

from __future__ import annotations

import codecs
import itertools
import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from services.edge.framing import wire
from services.edge.framing.deflate import deflate
from services.edge.framing.wire import BINARY, CLOSE, COMPRESSED, PING, PONG, TEXT, WireError
from tests.edge.framing.wire_frames import CONTINUATION, LIMIT, client_frame, hear

FEW = settings(max_examples=150, deadline=None)
CLOSE_WITHIN_A_MESSAGE = -1
NO_LIMIT = 1 << 63

payloads = st.binary(max_size=140) | st.text(max_size=30).map(str.encode)
masks = st.binary(min_size=4, max_size=4)


@st.composite
def close_frames(draw: st.DrawFn) -> bytes:
    """With any code, or none, or half of one."""
    code = draw(st.sampled_from([1000, 1001, 1005, 1006, 1011, 1015, 2999, 3000, 4999, 5000]) | st.integers(0, 65535))
    payload = struct.pack("!H", code) + draw(st.text(max_size=20).map(str.encode) | st.binary(max_size=123))
    return client_frame(CLOSE, draw(st.sampled_from([payload, payload, b"", payload[:1]])), mask=draw(masks))


@st.composite
def frame_sequences(draw: st.DrawFn, *, compression: bool = False) -> bytes:
    """Well-formed messages, fragmented at will, with control frames in between, and sometimes a close frame last."""
    out = b""
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        parts = draw(st.lists(payloads, min_size=1, max_size=4))
        rsv = COMPRESSED if compression and draw(st.booleans()) else 0
        if rsv:
            squeezed = deflate(b"".join(parts), draw(st.integers(9, 15)))
            cuts = sorted(draw(st.lists(st.integers(0, len(squeezed)), max_size=3)))
            parts = [squeezed[start:end] for start, end in itertools.pairwise([0, *cuts, len(squeezed)])]
        for number, part in enumerate(parts):
            for control in draw(st.lists(st.sampled_from([PING, PONG]), max_size=1)):
                out += client_frame(control, draw(st.binary(max_size=125)), mask=draw(masks))
            fin = number == len(parts) - 1
            first = number == 0
            code, bits = (opcode, rsv) if first else (CONTINUATION, 0)
            out += client_frame(code, part, fin=fin, rsv=bits, mask=draw(masks))
    return out + (draw(close_frames()) if draw(st.booleans()) else b"")


@st.composite
def broken_sequences(draw: st.DrawFn, *, compression: bool = False) -> bytes:
    """The same with a few bytes changed, cut out or put in."""
    data = bytearray(draw(frame_sequences(compression=compression)) + draw(frame_sequences(compression=compression)))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


any_stream = frame_sequences() | broken_sequences() | st.binary(max_size=60)


squeezed_stream = frame_sequences(compression=True) | broken_sequences(compression=True)


@FEW
@given(any_stream | squeezed_stream, st.lists(st.integers(0, 1200), max_size=8), st.booleans(), st.booleans())
def test_how_the_bytes_are_cut_makes_no_difference(
    data: bytes, cuts: list[int], each_byte: bool, compression: bool
) -> None:
    edges = range(len(data) + 1) if each_byte else [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert hear(*pieces, compression=compression) == hear(data, compression=compression)


def _stock_server(data: bytes, *, compression: bool = False) -> tuple[list[tuple[int, bytes]], int | None]:
    """What the `websockets` package makes of the same bytes; it leaves UTF-8 and the joining of fragments to others."""
    peer = Protocol(Side.SERVER, state=OPEN, max_size=LIMIT)
    if compression:
        peer.extensions = [PerMessageDeflate(True, True, 15, 15)]
    peer.receive_data(data)
    found: list[tuple[int, bytes]] = []
    text = codecs.getincrementaldecoder("utf-8")()
    message, kind = b"", 0
    for event in peer.events_received():
        assert isinstance(event, Frame)
        if event.opcode >= Opcode.CLOSE:
            found.append((int(event.opcode), bytes(event.data)))
            continue
        message, kind = message + bytes(event.data), int(event.opcode) or kind
        if kind == TEXT:
            try:
                text.decode(bytes(event.data), event.fin)
            except UnicodeDecodeError:
                return found, 1007
        if event.fin:
            found.append((kind, message))
            message = b""
    if "incomplete fragmented message" in str(peer.parser_exc):
        return found, CLOSE_WITHIN_A_MESSAGE
    failed = peer.parser_exc is not None and not isinstance(peer.parser_exc, EOFError)
    sent = peer.close_sent
    return found, sent.code if failed and sent is not None else None


def _hear_out(
    data: bytes, *, compression: bool = False, limit: int = LIMIT
) -> tuple[list[tuple[int, bytes]], int | None]:
    """As `hear`, and a close frame is looked into, as the connection does."""
    found, refused = hear(data, limit=limit, compression=compression)
    if found and found[-1][0] == CLOSE:
        try:
            wire.parse_close(found[-1][1])
        except WireError as error:
            return found[:-1], error.close.code
    return found, refused


@FEW
@given(any_stream)
@example(client_frame(CONTINUATION, bytes(LIMIT + 1)))
def test_a_stock_server_hears_the_same(data: bytes) -> None:
    # It waits for a whole frame before it looks at some of the rules: zeros complete whatever frame is under way, and
    # are then an unmasked one themselves.
    data += bytes(LIMIT + 20)
    heard, stock = _hear_out(data), _stock_server(data)
    if stock[1] == CLOSE_WITHIN_A_MESSAGE:
        heard = heard[0][: len(stock[0])], stock[1]  # legal by RFC 6455, 5.4: we take it, they refuse it
    if (heard[1], stock[1]) == (1002, 1009):  # a frame that breaks two rules: they look at its size first, we last
        assert _hear_out(data, limit=NO_LIMIT) == heard
        heard = heard[0], stock[1]
    assert heard == stock


@FEW
@given(frame_sequences(compression=True))
def test_a_stock_server_hears_the_same_with_compression(data: bytes) -> None:
    """But false text in a compressed message: they notice it at a fragment, we at the end, after its control frames."""
    (heard, refused), (stock, also) = _hear_out(data, compression=True), _stock_server(data, compression=True)
    if also == CLOSE_WITHIN_A_MESSAGE:
        refused = also
    assert refused == also
    assert heard[: len(stock)] == stock
    assert len(heard) == len(stock) or also is not None


@FEW
@given(st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=200)), max_size=5))
def test_frames_of_a_stock_client_are_read(said: list[tuple[int, str]]) -> None:
    client = Protocol(Side.CLIENT, state=OPEN)
    for opcode, text in said:
        (client.send_text if opcode == TEXT else client.send_binary)(text.encode())
    client.send_close(1000, "bye")
    sent = b"".join(client.data_to_send())
    assert hear(sent) == ([*((opcode, text.encode()) for opcode, text in said), (CLOSE, b"\x03\xe8bye")], None)


@FEW
@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING]), st.text(max_size=40)), max_size=5), st.text(max_size=60)
)
def test_a_stock_client_hears_what_we_say(said: list[tuple[int, str]], reason: str) -> None:
    client = Protocol(Side.CLIENT, state=OPEN)
    client.receive_data(b"".join(wire.frame(opcode, text.encode()[:125]) for opcode, text in said))
    client.receive_data(wire.close_frame(1001, reason))
    *heard, _ = client.events_received()
    assert heard == [Frame(Opcode(opcode), text.encode()[:125]) for opcode, text in said]
    assert isinstance(client.close_rcvd, Close)
    assert client.close_rcvd.code == 1001
    assert reason.startswith(client.close_rcvd.reason)


def test_the_stock_server_fails_as_we_think() -> None:
    assert _stock_server(client_frame(3)) == ([], 1002)
    peer = Protocol(Side.SERVER, state=OPEN)
    peer.receive_data(client_frame(3))
    assert isinstance(peer.parser_exc, ProtocolError)
