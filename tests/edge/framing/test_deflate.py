"""permessage-deflate without context takeover (RFC 7692), held to the `websockets` package."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension

from services.edge.framing.deflate import InflateError, deflate, inflate, negotiate

FEW = settings(max_examples=150, deadline=None)
TAIL = b"\x00\x00\xff\xff"


def refusal(payload: bytes, limit: int = 1000) -> int:
    with pytest.raises(InflateError) as refused:
        inflate(payload, limit)
    assert str(refused.value)
    return refused.value.close.code


class TestNegotiation:
    """RFC 7692, 5 and 7.1."""

    @pytest.mark.parametrize(
        ("offer", "bits"),
        [
            ("permessage-deflate", 15),
            ("Permessage-Deflate; client_max_window_bits", 15),
            ("permessage-deflate; client_max_window_bits=8", 15),
            ('permessage-deflate; server_max_window_bits="10"', 10),
            ("permessage-deflate;server_no_context_takeover ; client_no_context_takeover", 15),
            ("x-webkit-deflate-frame, permessage-deflate", 15),
            ("permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9", 9),
            ("permessage-deflate; mystery, permessage-deflate", 15),
        ],
    )
    def test_the_first_offer_that_can_be_met_is_taken(self, offer: str, bits: int) -> None:
        agreed = negotiate(offer)
        assert agreed is not None and agreed.window_bits == bits

    @pytest.mark.parametrize(
        "offer",
        [
            "",
            ",;",
            "x-webkit-deflate-frame",
            "permessage-bzip2",
            "permessage-deflate; mystery",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",  # zlib deflates with 9 and more
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; server_max_window_bits=1 0",
        ],
    )
    def test_others_are_declined(self, offer: str) -> None:
        assert negotiate(offer) is None

    @pytest.mark.parametrize("window", [None, *range(9, 16)])
    @pytest.mark.parametrize("client_window", [None, True, 9, 12])
    def test_a_stock_client_takes_our_answer(self, window: int | None, client_window: int | bool | None) -> None:
        stock = ClientPerMessageDeflateFactory(server_max_window_bits=window, client_max_window_bits=client_window)
        offer = "; ".join(
            ["permessage-deflate"]
            + [name + (f"={value}" if value else "") for name, value in stock.get_request_params()]
        )
        ours = negotiate(offer)
        assert ours is not None and ours.window_bits == (window or 15)
        ((name, parameters),) = parse_extension(ours.response)
        agreed = stock.process_response_params(parameters, [])
        assert (name, agreed.remote_no_context_takeover, agreed.local_no_context_takeover) == (stock.name, True, True)
        assert agreed.remote_max_window_bits == ours.window_bits

    @FEW
    @given(st.text(st.sampled_from('permsag-dfl;=, "\\_18kcinotuwx')) | st.text(max_size=40))
    def test_any_offer_is_taken_or_declined(self, offer: str) -> None:
        agreed = negotiate(offer)
        assert agreed is None or agreed.window_bits in range(9, 16)


messages = st.binary(max_size=3000) | st.text(st.sampled_from("ab🎉"), max_size=3000).map(str.encode)


class TestMessages:
    @FEW
    @given(messages, st.integers(9, 15))
    def test_a_stock_client_reads_what_we_compress(self, message: bytes, bits: int) -> None:
        stock = PerMessageDeflate(True, True, bits, 15)  # it inflates with the agreed window, not with a larger one
        frame = Frame(Opcode.TEXT, deflate(message, bits), rsv1=True)
        assert stock.decode(frame, max_size=len(message)).data == message

    @FEW
    @given(messages, st.integers(9, 15), st.integers(0, 9))
    def test_we_read_what_a_stock_client_compresses(self, message: bytes, bits: int, level: int) -> None:
        stock = PerMessageDeflate(True, True, 15, bits, {"level": level})
        for _ in range(2):  # nothing is taken over
            assert inflate(bytes(stock.encode(Frame(Opcode.TEXT, message)).data), len(message)) == message

    def test_the_examples_of_the_rfc(self) -> None:
        """7.2.3.1 to 7.2.3.5: one block, none compressed, the last one, two of them."""
        for payload in (
            b"\xf2\x48\xcd\xc9\xc9\x07\x00",
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ):
            assert inflate(payload, 5) == b"Hello"
        assert inflate(b"\x00", 0) == b""

    @pytest.mark.parametrize("payload", [b"\xff\xff", b"\x07", b"Hello", zlib.compress(b"with a header")])
    def test_rubbish(self, payload: bytes) -> None:
        assert refusal(payload) == 1007

    def test_nothing_follows_the_last_block(self) -> None:
        last = b"\xf3\x48\xcd\xc9\xc9\x07\x00"
        assert refusal(last + last + b"\x00") == 1007

    def test_the_limit_is_that_of_the_message(self) -> None:
        assert inflate(deflate(b"x" * 1000, 15), 1000) == b"x" * 1000
        assert refusal(deflate(b"x" * 1001, 15), 1000) == 1009

    def test_a_bomb_is_not_inflated(self) -> None:
        bomb = deflate(bytes(20_000_000), 15)
        tracemalloc.start()
        assert refusal(bomb, 65536) == 1009
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 400_000
