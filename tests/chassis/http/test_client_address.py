"""The client's address behind proxies: only what a trusted one wrote is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.http.client_address import Proxies, parse

PROXIES = Proxies(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])
CLIENT, LIAR = "198.51.100.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (CLIENT, "", CLIENT),
        (CLIENT, LIAR, CLIENT),
        ("10.1.2.3", CLIENT, CLIENT),
        ("10.1.2.3", f"{LIAR}, {CLIENT}", CLIENT),
        ("10.1.2.3", f"{LIAR}, {CLIENT}, 10.9.9.9", CLIENT),
        ("10.1.2.3", f"{LIAR},{CLIENT},10.9.9.9,127.0.0.1", CLIENT),
        ("fd00::5", f"{CLIENT}:4711", CLIENT),
        ("10.1.2.3", "2001:db8::7", "2001:db8::7"),
        ("10.1.2.3", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.1.2.3", f"::ffff:{CLIENT}", CLIENT),
        ("::ffff:10.1.2.3", CLIENT, CLIENT),
        ("10.1.2.3", "10.4.4.4", "10.4.4.4"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "unknown", "10.1.2.3"),
        ("10.1.2.3", f"{LIAR}, rubbish, 10.9.9.9", "10.9.9.9"),
        ("", CLIENT, ""),
    ],
    ids=str,
)
def test_the_client_s_address(peer: str, forwarded: str, client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


def test_loopback_is_trusted_only_if_it_is_named() -> None:
    assert Proxies().client("127.0.0.1", CLIENT) == "127.0.0.1"
    assert Proxies(["::1"]).client("127.0.0.1", CLIENT) == "127.0.0.1"


@given(st.text(max_size=200))
def test_whatever_a_client_writes_it_is_never_taken_for_another(written: str) -> None:
    """Anything before the address that the proxy has added is ignored."""
    assert PROXIES.client("10.0.0.1", f"{written},{CLIENT}") == CLIENT


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_none(text: str) -> None:
    parse(text)
    assert PROXIES.client("10.0.0.1", text)


@pytest.mark.parametrize("wrong", ["proxy.example.com", "10.0.0.0/33", "", "10.0.0.1:80"])
def test_what_is_no_network(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"expected an address or a network such as 10\.0\.0\.0/8, got "):
        Proxies([wrong])
