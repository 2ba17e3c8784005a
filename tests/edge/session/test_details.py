"""What session events tell of how a client came: addresses in full, as networks, as digests, or not at all."""

from __future__ import annotations

import re

import pytest

from services.edge.arrival import UNKNOWN, Arrival
from services.edge.client_settings import DETAILS, ClientSection
from services.edge.session.details import details, told_address

KEY = "only the edges know this, nobody else"
ADDRESS = "203.0.113.77"


def section(how: str = "full", key: str = KEY, told: tuple[str, ...] = DETAILS) -> ClientSection:
    return ClientSection(session_event_details=list(told), session_addresses=how, session_address_key=key)


def test_what_is_not_named_is_not_told() -> None:
    arrival = Arrival(ADDRESS, "https://example.com", "Firefox")
    assert details(section(told=()), arrival, "sse") == {}
    assert details(section(told=("transport", "origin")), arrival, "sse") == {
        "transport": "sse",
        "origin": "https://example.com",
    }
    assert details(section("none"), arrival, "sse")["address"] == ""


def test_of_a_client_whose_request_is_forgotten_the_transport_is_left() -> None:
    assert details(section("hashed"), UNKNOWN, "sse") == {
        "address": "",
        "transport": "sse",
        "user_agent": "",
        "origin": "",
    }


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (ADDRESS, "203.0.113.0/24"),
        ("2001:db8:1:2:3::9", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unix:/run/socket", ""),
    ],
)
def test_truncated_to_the_network(address: str, network: str) -> None:
    assert told_address(section("truncated"), address) == network


def test_in_full_or_not_at_all() -> None:
    assert told_address(section("full"), ADDRESS) == ADDRESS
    assert told_address(section("none"), ADDRESS) == ""


class TestDigests:
    def test_one_address_is_always_the_same_digest_however_it_is_spelled(self) -> None:
        digest = told_address(section("hashed"), ADDRESS)
        assert re.fullmatch("[0-9a-f]{32}", digest)
        assert told_address(section("hashed"), f"::ffff:{ADDRESS}") == digest
        assert told_address(section("hashed"), "2001:DB8::1") == told_address(section("hashed"), "2001:db8:0::1")

    def test_two_addresses_or_two_keys_have_two(self) -> None:
        digests = {
            told_address(section("hashed", key), address)
            for key in (KEY, KEY + "!")
            for address in (ADDRESS, "203.0.113.78", "no address")
        }
        assert len(digests) == 6

    def test_a_key_of_any_length_counts_whole(self) -> None:
        long = "x" * 200
        assert told_address(section("hashed", long), ADDRESS) != told_address(section("hashed", long + "y"), ADDRESS)

    def test_nobody_finds_the_address_behind_one_without_the_key(self) -> None:
        """There are four thousand million addresses: a digest without a key is one table away from its address."""
        with pytest.raises(ValueError, match=r"expected client\.session_address_key of at least 32 characters"):
            section("hashed", "")
        with pytest.raises(ValueError, match=r"expected client\.session_address_key of at least 32 characters"):
            section("hashed", "x" * 31)


def test_a_mistyped_way_is_an_error_that_names_the_ways() -> None:
    with pytest.raises(ValueError, match=r"client\.session_addresses to be one of full, truncated, hashed, none"):
        section("hash")
