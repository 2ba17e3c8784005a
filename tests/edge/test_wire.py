"""RFC 6455 as conversations: what a client sends, byte for byte, and what the wire makes of it."""

from __future__ import annotations

import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from services.edge.framing import wire
from services.edge.framing.wire import BINARY, CLOSE, PING, PONG, TEXT, Wire, WireError

FEW = settings(max_examples=150, deadline=None)
CLOSE_WITHIN_A_MESSAGE = -1
LIMIT = 1000
CONTINUATION = 0
FIN = 0x80
MASK = b"\x37\xfa\x21\x3d"  # that of the examples in RFC 6455, 5.7


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK
) -> bytes:
    """A frame as a client sends it; `mask` None breaks the rule."""
    size, masked = len(payload), 0x80 if mask is not None else 0
    first = (FIN if fin else 0) | rsv | opcode
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def head_only(opcode: int, size: int) -> bytes:
    """The head of a frame whose payload is never sent."""
    return struct.pack("!BBQ", FIN | opcode, 0x80 | 127, size)


def hear(*chunks: bytes, limit: int = LIMIT) -> tuple[list[tuple[int, bytes]], int | None]:
    """What the wire found in these chunks, and the close code if it refused to go on."""
    ear, found = Wire(limit), []
    for chunk in chunks:
        try:
            for frame in ear.feed(chunk):
                found.append(frame)
        except WireError as error:
            assert str(error)
            return found, error.close.code
    return found, None


class TestMessages:
    """RFC 6455, 5.6 and 5.7."""

    def test_the_example_of_the_rfc(self) -> None:
        assert hear(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") == ([(TEXT, b"Hello")], None)

    def test_binary(self) -> None:
        assert hear(client_frame(BINARY, b"\xff\x00")) == ([(BINARY, b"\xff\x00")], None)

    def test_several_frames_in_one_chunk(self) -> None:
        assert hear(client_frame(TEXT, b"a") + client_frame(TEXT) + client_frame(BINARY, b"b")) == (
            [(TEXT, b"a"), (TEXT, b""), (BINARY, b"b")],
            None,
        )

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
    def test_every_length(self, size: int) -> None:
        assert hear(client_frame(BINARY, b"x" * size), limit=65536) == ([(BINARY, b"x" * size)], None)


class TestMasking:
    """RFC 6455, 5.1 and 5.3."""

    @pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
    def test_an_unmasked_frame_is_refused(self, opcode: int) -> None:
        assert hear(client_frame(opcode, b"", mask=None)) == ([], 1002)

    def test_any_mask_is_taken(self) -> None:
        assert hear(client_frame(TEXT, b"Hello", mask=b"\0\0\0\0")) == ([(TEXT, b"Hello")], None)


class TestHeads:
    """RFC 6455, 5.2: reserved bits and opcodes."""

    @pytest.mark.parametrize("rsv", [0x40, 0x20, 0x10])
    @pytest.mark.parametrize("opcode", [TEXT, PING])
    def test_reserved_bits(self, rsv: int, opcode: int) -> None:
        assert hear(client_frame(opcode, rsv=rsv)) == ([], 1002)

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
    def test_reserved_opcodes(self, opcode: int) -> None:
        assert hear(client_frame(opcode)) == ([], 1002)

    def test_a_wrong_head_is_refused_before_its_length_has_arrived(self) -> None:
        assert hear(b"\xc1\xff") == ([], 1002)


class TestControlFrames:
    """RFC 6455, 5.5."""

    @pytest.mark.parametrize("opcode", [PING, PONG])
    def test_ping_and_pong(self, opcode: int) -> None:
        assert hear(client_frame(opcode, b"x" * 125)) == ([(opcode, b"x" * 125)], None)

    @pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
    def test_they_have_at_most_125_bytes(self, opcode: int) -> None:
        assert hear(client_frame(opcode, b"x" * 126)) == ([], 1002)

    @pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
    def test_they_are_not_fragmented(self, opcode: int) -> None:
        assert hear(client_frame(opcode, fin=False)) == ([], 1002)

    def test_they_do_not_count_towards_the_limit_of_a_message(self) -> None:
        chunk = client_frame(TEXT, b"x" * 100, fin=False) + client_frame(PING, b"y" * 100) + client_frame(CONTINUATION)
        assert hear(chunk, limit=100) == ([(PING, b"y" * 100), (TEXT, b"x" * 100)], None)


class TestFragmentation:
    """RFC 6455, 5.4."""

    def test_a_message_in_three_frames(self) -> None:
        chunk = client_frame(TEXT, b"Hel", fin=False) + client_frame(0, b"", fin=False) + client_frame(0, b"lo")
        assert hear(chunk) == ([(TEXT, b"Hello")], None)

    def test_control_frames_come_in_between(self) -> None:
        chunk = client_frame(BINARY, b"a", fin=False) + client_frame(PING, b"p") + client_frame(CONTINUATION, b"b")
        assert hear(chunk) == ([(PING, b"p"), (BINARY, b"ab")], None)

    def test_a_close_frame_comes_in_between(self) -> None:
        assert hear(client_frame(TEXT, b"a", fin=False) + client_frame(CLOSE)) == ([(CLOSE, b"")], None)

    def test_a_message_follows_a_fragmented_one(self) -> None:
        chunk = client_frame(BINARY, b"a", fin=False) + client_frame(0, b"b") + client_frame(TEXT, b"c")
        assert hear(chunk) == ([(BINARY, b"ab"), (TEXT, b"c")], None)

    @pytest.mark.parametrize("fin", [True, False])
    def test_a_continuation_of_nothing(self, fin: bool) -> None:
        assert hear(client_frame(CONTINUATION, b"x", fin=fin)) == ([], 1002)

    def test_a_continuation_after_the_last_one(self) -> None:
        chunk = client_frame(TEXT, b"a", fin=False) + client_frame(0, b"b") + client_frame(0, b"c")
        assert hear(chunk) == ([(TEXT, b"ab")], 1002)

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_a_new_message_inside_of_one(self, opcode: int) -> None:
        assert hear(client_frame(TEXT, b"a", fin=False) + client_frame(opcode, b"b")) == ([], 1002)

    def test_endless_empty_fragments_take_no_memory(self) -> None:
        ear = Wire(LIMIT)
        assert list(ear.feed(client_frame(TEXT, b"", fin=False))) == []
        flood = client_frame(CONTINUATION, b"", fin=False) * 10_000
        tracemalloc.start()
        assert list(ear.feed(flood)) == []
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 10_000  # a byte for each of them


class TestLimit:
    """Nothing is waited for that will not be taken: 1009."""

    def test_the_largest_message_is_taken(self) -> None:
        assert hear(client_frame(BINARY, b"x" * LIMIT)) == ([(BINARY, b"x" * LIMIT)], None)

    @pytest.mark.parametrize("size", [LIMIT + 1, 2**32, 2**63 - 1, 2**64 - 1])
    def test_a_larger_one_is_refused_by_its_head(self, size: int) -> None:
        assert hear(head_only(BINARY, size)) == ([], 1009)

    def test_fragments_are_summed_up(self) -> None:
        most = client_frame(BINARY, b"x" * 600, fin=False)
        assert hear(most + client_frame(CONTINUATION, b"x" * 400)) == ([(BINARY, b"x" * 1000)], None)
        assert hear(most + struct.pack("!BBH", FIN, 0x80 | 126, 401)) == ([], 1009)

    def test_the_sum_starts_again_with_each_message(self) -> None:
        one = client_frame(BINARY, b"x" * 600, fin=False) + client_frame(CONTINUATION, b"x" * 400)
        assert hear(one * 3) == ([(BINARY, b"x" * 1000)] * 3, None)


class TestText:
    """RFC 6455, 8.1: text is UTF-8, or the connection ends with 1007."""

    @pytest.mark.parametrize("text", ["grüße 🎉", "\0", "\U0010ffff", "\ufeff"])
    def test_text_beyond_ascii(self, text: str) -> None:
        assert hear(client_frame(TEXT, text.encode())) == ([(TEXT, text.encode())], None)

    @pytest.mark.parametrize("data", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xf0\x9f\x8e"])
    def test_what_is_not_utf8(self, data: bytes) -> None:
        assert hear(client_frame(TEXT, data)) == ([], 1007)
        assert hear(client_frame(TEXT, b"ok", fin=False) + client_frame(CONTINUATION, data)) == ([], 1007)
        assert hear(client_frame(BINARY, data)) == ([(BINARY, data)], None)

    def test_a_character_may_lie_across_fragments(self) -> None:
        start, rest = "🎉".encode()[:2], "🎉".encode()[2:]
        chunk = client_frame(TEXT, start, fin=False) + client_frame(CONTINUATION, rest)
        assert hear(chunk) == ([(TEXT, "🎉".encode())], None)


class TestClose:
    """RFC 6455, 5.5.1 and 7.4."""

    @pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
    def test_codes_that_may_be_sent(self, code: int) -> None:
        assert wire.parse_close(struct.pack("!H", code) + b"bye") == (code, "bye")

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
    def test_codes_that_must_not(self, code: int) -> None:
        with pytest.raises(WireError) as refusal:
            wire.parse_close(struct.pack("!H", code))
        assert refusal.value.close.code == 1002

    def test_no_code(self) -> None:
        assert wire.parse_close(b"") == (1005, "")

    def test_half_a_code(self) -> None:
        with pytest.raises(WireError) as refusal:
            wire.parse_close(b"\x03")
        assert refusal.value.close.code == 1002

    def test_a_reason_is_utf8(self) -> None:
        with pytest.raises(WireError) as refusal:
            wire.parse_close(b"\x03\xe8\xff")
        assert refusal.value.close.code == 1007

    def test_nothing_counts_behind_a_close_frame(self) -> None:
        goodbye = client_frame(CLOSE, b"\x03\xe8")
        assert hear(goodbye + client_frame(TEXT, b"late"), b"\xff\xff") == ([(CLOSE, b"\x03\xe8")], None)

    @pytest.mark.parametrize("reason", ["", "x" * 123, "x" * 200, "ü" * 100, "🎉" * 40, "xx" + "🎉" * 40])
    def test_ours_is_cut_between_characters(self, reason: str) -> None:
        framed = wire.close_frame(1001, reason)
        code, said = wire.parse_close(framed[2:])
        assert (framed[0], framed[1], code) == (FIN | CLOSE, len(framed) - 2, 1001)
        assert reason.startswith(said)
        assert len(said.encode()) <= 123
        assert len(said.encode()) > 119 or said == reason


class TestErrors:
    def test_what_precedes_an_error_is_handed_on(self) -> None:
        assert hear(client_frame(TEXT, b"a") + client_frame(3) + client_frame(TEXT, b"b")) == ([(TEXT, b"a")], 1002)

    def test_nothing_counts_behind_an_error(self) -> None:
        ear = Wire(LIMIT)
        with pytest.raises(WireError):
            list(ear.feed(client_frame(3)))
        assert list(ear.feed(client_frame(TEXT, b"late"))) == []


class TestOutgoing:
    """RFC 6455, 5.2: the shortest length encoding, and no mask."""

    @pytest.mark.parametrize(
        ("size", "head"),
        [
            (0, b"\x81\x00"),
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (65535, b"\x81\x7e\xff\xff"),
            (65536, b"\x81\x7f\0\0\0\0\0\x01\0\0"),
        ],
    )
    def test_lengths(self, size: int, head: bytes) -> None:
        assert wire.frame(TEXT, b"x" * size) == head + b"x" * size


# --- for any bytes --------------------------------------------------------------------------------------------------

payloads = st.binary(max_size=140) | st.text(max_size=30).map(str.encode)
masks = st.binary(min_size=4, max_size=4)


@st.composite
def frame_sequences(draw: st.DrawFn) -> bytes:
    """Well-formed messages, fragmented at will, with control frames in between."""
    out = b""
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        parts = draw(st.lists(payloads, min_size=1, max_size=4))
        for number, part in enumerate(parts):
            for control in draw(st.lists(st.sampled_from([PING, PONG]), max_size=1)):
                out += client_frame(control, draw(st.binary(max_size=125)), mask=draw(masks))
            fin = number == len(parts) - 1
            out += client_frame(opcode if number == 0 else CONTINUATION, part, fin=fin, mask=draw(masks))
    return out


@st.composite
def broken_sequences(draw: st.DrawFn) -> bytes:
    """The same with a few bytes changed, cut out or put in."""
    data = bytearray(draw(frame_sequences()) + draw(frame_sequences()))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


any_stream = frame_sequences() | broken_sequences() | st.binary(max_size=60)


@FEW
@given(any_stream, st.lists(st.integers(0, 1200), max_size=8), st.booleans())
def test_how_the_bytes_are_cut_makes_no_difference(data: bytes, cuts: list[int], each_byte: bool) -> None:
    edges = range(len(data) + 1) if each_byte else [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert hear(*pieces) == hear(data)


def _stock_server(data: bytes) -> tuple[list[tuple[int, bytes]], int | None]:
    """What the `websockets` package makes of the same bytes; it leaves UTF-8 and the joining of fragments to others."""
    peer = Protocol(Side.SERVER, state=OPEN, max_size=LIMIT)
    peer.receive_data(data)
    found: list[tuple[int, bytes]] = []
    message, kind = b"", 0
    for event in peer.events_received():
        assert isinstance(event, Frame)
        if event.opcode >= Opcode.CLOSE:
            found.append((int(event.opcode), bytes(event.data)))
            continue
        message, kind = message + bytes(event.data), int(event.opcode) or kind
        if event.fin:
            if kind == TEXT:
                try:
                    message.decode()
                except UnicodeDecodeError:
                    return found, 1007
            found.append((kind, message))
            message = b""
    if "incomplete fragmented message" in str(peer.parser_exc):
        return found, CLOSE_WITHIN_A_MESSAGE
    failed = peer.parser_exc is not None and not isinstance(peer.parser_exc, EOFError)
    sent = peer.close_sent
    return found, sent.code if failed and sent is not None else None


def _hear_out(data: bytes) -> tuple[list[tuple[int, bytes]], int | None]:
    """As `hear`, and a close frame is looked into, as the connection does."""
    found, refused = hear(data)
    if found and found[-1][0] == CLOSE:
        try:
            wire.parse_close(found[-1][1])
        except WireError as error:
            return found[:-1], error.close.code
    return found, refused


@FEW
@given(any_stream)
def test_a_stock_server_hears_the_same(data: bytes) -> None:
    # It waits for a whole frame before it looks at some of the rules: zeros complete whatever frame is under way, and
    # are then an unmasked one themselves.
    data += bytes(LIMIT + 20)
    heard, stock = _hear_out(data), _stock_server(data)
    if stock[1] == CLOSE_WITHIN_A_MESSAGE:
        heard = heard[0][: len(stock[0])], stock[1]  # legal by RFC 6455, 5.4: we take it, they refuse it
    assert heard == stock


@FEW
@given(st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=200)), max_size=5))
def test_what_a_stock_client_says_is_heard(said: list[tuple[int, str]]) -> None:
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
