"""The PROXY protocol: the header of each version, in any pieces, and what is none."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.http.proxy_protocol import Preamble, read

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REST = b"GET / HTTP/1.1\r\n\r\n"


def version_2(source: str = "192.0.2.7", command: int = 0x21, more: bytes = b"") -> bytes:
    address = ip_address(source)
    addresses = address.packed * 2 + b"\x12\x34\x1f\x90"
    family = 0x11 if address.version == 4 else 0x21
    block = addresses + more
    return SIGNATURE + bytes((command, family)) + len(block).to_bytes(2, "big") + block


HEADERS = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 8151\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 fd00::1 4711 8151\r\n", "2001:db8::7"),
    (b"PROXY UNKNOWN\r\n", ""),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 4711 8151\r\n", "192.0.2.7"),
    (b"PROXY TCP6 ::ffff:c000:207 ::ffff:10.0.0.1 4711 8151\r\n", "192.0.2.7"),
    (version_2(), "192.0.2.7"),
    (version_2("2001:db8::7"), "2001:db8::7"),
    (version_2("::ffff:192.0.2.7"), "192.0.2.7"),
    (version_2(more=b"\x04\x00\x03abc"), "192.0.2.7"),
    (version_2(command=0x20), ""),
    (SIGNATURE + b"\x20\x00\x00\x00", ""),
    (SIGNATURE + b"\x21\x31\x00\x04path", ""),
]


@pytest.mark.parametrize(("header", "address"), HEADERS, ids=repr)
def test_a_header_and_what_follows_it(header: bytes, address: str) -> None:
    assert read(header + REST) == read(header) == Preamble(address, len(header))


@pytest.mark.parametrize("header", [header for header, _ in HEADERS], ids=repr)
def test_it_may_come_in_pieces(header: bytes) -> None:
    assert [read(header[:size]) for size in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize("data", [REST, b"P", b"PUT / HTTP/1.1\r\n", b"\r\n", b"\r\n\r\nGET", b"x"], ids=repr)
def test_what_begins_without_a_header(data: bytes) -> None:
    found = read(data + REST)
    assert found == Preamble("", 0)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 example.com 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 999.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x31\x11\x00\x0c",
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
    ids=repr,
)
def test_a_broken_header(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(data)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=300))
def test_any_bytes_are_a_header_or_none_or_broken(beginning: bytes, rest: bytes) -> None:
    try:
        found = read(beginning + rest)
    except ValueError:
        return
    assert found is None or 0 <= found.size <= len(beginning + rest)
