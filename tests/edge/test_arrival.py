"""What an edge keeps of the request with which a client came."""

from __future__ import annotations

import pytest

from services.chassis.http.client_address import Proxies
from services.edge.arrival import MAX_TEXT_LENGTH, UNKNOWN, Arrival, UserHeader, arrival_of

HEADERS = {
    "origin": "https://example.com",
    "user-agent": "Mozilla/5.0",
    "cookie": "session=1",
    "authorization": "Bearer x",
}


def header(name: str) -> str:
    return HEADERS.get(name, "")


def test_the_page_the_software_and_the_address_are_always_kept_other_headers_only_by_name() -> None:
    assert arrival_of("192.0.2.1", header, ()) == Arrival("192.0.2.1", "https://example.com", "Mozilla/5.0")
    assert arrival_of("192.0.2.1", header, ("cookie", "x-absent")).headers == {"cookie": "session=1"}


def test_each_allow_list_gets_its_own_headers() -> None:
    arrival = arrival_of("", header, ("cookie", "authorization"))
    assert arrival.chosen(["cookie", "x-absent"]) == {"cookie": "session=1"}
    assert arrival.chosen([]) == {}


def test_a_client_cannot_make_the_edge_hold_a_long_user_agent() -> None:
    arrival = arrival_of("", lambda name: "x" * 10_000, ())
    assert len(arrival.user_agent) == len(arrival.origin) == MAX_TEXT_LENGTH


def test_nothing_is_known_of_a_client_without_a_request() -> None:
    assert arrival_of("", lambda name: "", ("cookie",)) == UNKNOWN


class TestUserHeader:
    """Who a client is, as an authenticating proxy says."""

    HEADER = UserHeader("X-Auth-User", Proxies(["10.0.0.0/8"]))

    def user(self, peer: str, value: str) -> str:
        headers = {"x-auth-user": value.encode().decode("latin-1")}
        return self.HEADER.user(peer, lambda name: headers.get(name, ""))

    def test_a_trusted_proxy_is_believed(self) -> None:
        assert self.user("10.1.2.3", "zoë") == "zoë"
        assert self.user("10.1.2.3", "") == ""

    def test_nobody_else_is_believed(self) -> None:
        assert self.user("192.0.2.1", "alice") == self.user("", "alice") == ""
        nobody = UserHeader("X-Auth-User", Proxies())
        assert nobody.user("10.1.2.3", lambda name: "alice") == ""

    def test_what_is_not_utf_8_is_nobody_s_id(self) -> None:
        with pytest.raises(ValueError, match="x-auth-user in UTF-8"):
            self.HEADER.user("10.1.2.3", lambda name: "\xff")
