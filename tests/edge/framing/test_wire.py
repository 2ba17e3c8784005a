"""RFC 6455 as conversations: a client's frames, byte for byte, and what the wire reads."""

from __future__ import annotations

import struct

import pytest

from services.edge.framing import wire
from services.edge.framing.deflate import deflate
from services.edge.framing.wire import BINARY, CLOSE, PART, PING, PONG, TEXT, Wire, WireError
from tests.edge.framing.wire_frames import CONTINUATION, FIN, LIMIT, client_frame, hear

MESSAGE = b"again and again and again"
SQUEEZED = deflate(MESSAGE, 15)


def head_only(opcode: int, size: int) -> bytes:
    """The head of a frame whose payload is never sent."""
    return struct.pack("!BBQ", FIN | opcode, 0x80 | 127, size)


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

    def test_a_message_has_a_bounded_number_of_fragments(self) -> None:
        """Empty ones count too: no sum of bytes bounds them."""
        most = Wire(LIMIT).max_fragments
        assert most == 64 + LIMIT // 64
        for first, next in ((b"a", b"b"), (b"", b"")):
            chunk = client_frame(TEXT, first, fin=False) + client_frame(CONTINUATION, next, fin=False) * (most - 2)
            message = (TEXT, first + next * (most - 1))
            heard, close = hear(chunk + client_frame(CONTINUATION, next))
            assert ([each for each in heard if each != (PART, b"")], close) == ([message], None)
            assert hear(chunk + client_frame(CONTINUATION, next, fin=False) * 2)[1] == 1009

    def test_the_reader_may_end_its_turn_within_a_message(self) -> None:
        ear = Wire(65536)
        assert ear.max_fragments > 1000
        heard = ear.feed(client_frame(TEXT, b"", fin=False) + client_frame(CONTINUATION, b"a", fin=False) * 640)
        assert list(heard) == [(PART, b"")] * 10
        assert list(ear.feed(client_frame(CONTINUATION, b"b"))) == [(TEXT, b"a" * 640 + b"b")]

    def test_nothing_is_parsed_before_it_is_asked_for(self) -> None:
        heard = Wire(LIMIT).feed(client_frame(TEXT, b"a") + client_frame(BINARY, mask=None))
        assert not isinstance(heard, tuple) and next(heard) == (TEXT, b"a")
        with pytest.raises(WireError):
            next(heard)


class TestLimit:
    """Nothing is waited for that will not be taken: 1009."""

    def test_the_largest_message_is_taken(self) -> None:
        assert hear(client_frame(BINARY, b"x" * LIMIT)) == ([(BINARY, b"x" * LIMIT)], None)

    @pytest.mark.parametrize("size", [LIMIT + 1, 2**32, 2**63 - 1, 2**64 - 1])
    def test_a_larger_one_is_refused_by_its_head(self, size: int) -> None:
        assert hear(head_only(BINARY, size)) == ([], 1009)

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    @pytest.mark.parametrize("size", [101, 125, 126, 900])
    def test_a_whole_frame_is_read_in_one_piece(self, opcode: int, size: int) -> None:
        assert hear(client_frame(opcode, b"x" * size), limit=100) == ([], 1009)

    def test_a_long_length_is_not_taken_for_a_short_one(self) -> None:
        assert hear(b"\x81\xff\x00\x04" + bytes(8)) == ([], 1009)  # 4 bytes, if its first two were all of it

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

    def test_half_a_character_at_the_end_is_none(self) -> None:
        half = client_frame(TEXT, "ü".encode()[:1], fin=False)
        assert hear(half + client_frame(CONTINUATION)) == ([], 1007)

    @pytest.mark.parametrize("cut", [1, 7, 8])
    def test_false_text_is_not_waited_out(self, cut: int) -> None:
        """The rest of the frame, or of the message, never comes."""
        started = client_frame(TEXT, b"ok\xf4\x90" + b"x" * 90)[: 6 + 4]
        assert hear(started[:cut], started[cut:]) == ([], 1007)
        assert hear(client_frame(TEXT, "ü".encode()[:1], fin=False) + client_frame(0, b"x", fin=False)) == ([], 1007)


class TestCompressed:
    """RFC 7692, 6, on a wire that agreed on it."""

    def test_a_message(self) -> None:
        assert hear(client_frame(TEXT, SQUEEZED, rsv=0x40), compression=True) == ([(TEXT, MESSAGE)], None)
        assert hear(client_frame(TEXT, MESSAGE), compression=True) == ([(TEXT, MESSAGE)], None)

    def test_fragments_bear_the_bit_once(self) -> None:
        start, rest = client_frame(BINARY, SQUEEZED[:5], rsv=0x40, fin=False), client_frame(0, SQUEEZED[5:])
        assert hear(start + client_frame(PING) + rest, compression=True) == ([(PING, b""), (BINARY, MESSAGE)], None)
        assert hear(start + client_frame(0, SQUEEZED[5:], rsv=0x40), compression=True) == ([], 1002)
        assert hear(client_frame(BINARY, b"a", fin=False) + client_frame(0, b"b", rsv=0x40), compression=True) == (
            [],
            1002,
        )

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_control_frames_are_not_compressed(self, opcode: int) -> None:
        assert hear(client_frame(opcode, b"", rsv=0x40), compression=True) == ([], 1002)

    @pytest.mark.parametrize("rsv", [0x20, 0x10, 0x60, 0x70])
    def test_the_other_bits_stay_reserved(self, rsv: int) -> None:
        assert hear(client_frame(TEXT, SQUEEZED, rsv=rsv), compression=True) == ([], 1002)

    def test_the_code_and_the_reason_are_checked(self) -> None:
        for message, code in ((b"\xff", 1007), (b"x" * (LIMIT + 1), 1009)):
            assert hear(client_frame(TEXT, deflate(message, 15), rsv=0x40), compression=True) == ([], code)
        assert hear(client_frame(BINARY, b"\xff\xff", rsv=0x40), compression=True) == ([], 1007)
        assert hear(client_frame(BINARY, b"x" * (LIMIT + 1), rsv=0x40), compression=True) == ([], 1009)

    def test_after_an_error_nothing_counts(self) -> None:
        data = client_frame(TEXT, b"\xff\xff", rsv=0x40) + client_frame(TEXT, b"late")
        assert hear(data, compression=True) == ([], 1007)


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

    def test_a_frame_is_none_of_what_was_begun_before_it(self) -> None:
        """Whole frames have a way of their own, which they take between others only."""
        whole = client_frame(TEXT, b"Hello")
        assert hear(client_frame(TEXT, b"a", fin=False), whole) == ([], 1002)
        for opcode in (BINARY, PING):
            around = client_frame(opcode, whole, mask=bytes(4))
            assert hear(around[: -len(whole)], whole) == ([(opcode, whole)], None)
        assert hear(client_frame(CLOSE), whole) == ([(CLOSE, b"")], None)

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

    def test_an_idle_wire_holds_nothing(self) -> None:
        ear = Wire(LIMIT)
        list(ear.feed(client_frame(TEXT, b"x" * 200)[:50]))
        list(ear.feed(client_frame(TEXT, b"x" * 200)[50:] + client_frame(PING, b"x" * 100)[:50]))
        list(ear.feed(client_frame(PING, b"x" * 100)[50:]))
        held = [getattr(ear, name) for name in Wire.__slots__]
        assert not any(held[:-1]) and held[-1] == LIMIT


class TestErrors:
    def test_frames_before_an_error_are_handed_on(self) -> None:
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
