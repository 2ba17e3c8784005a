"""What an edge keeps of the request with which a client came."""

from __future__ import annotations

import pytest

from services.edge.arrival import MAX_TEXT_LENGTH, UNKNOWN, Arrival, Kept, UserHeader, arrival_of
from services.edge.backend.question_headers import kept
from services.edge.backend_settings import BackendSettings
from services.edge.client_settings import ClientSection

HEADERS = {
    "origin": "https://example.com",
    "user-agent": "Mozilla/5.0",
    "cookie": "session=1",
    "authorization": "Bearer x",
}


def header(name: str) -> str:
    return HEADERS.get(name, "")


def backend(*headers: str) -> BackendSettings:
    return BackendSettings(name="app", url="http://app.example/{event}", http_headers=list(headers))


def of(client: ClientSection, *headers: str, by_proxy: bool = False) -> Arrival:
    """What these settings keep of the request, for backends that get these headers."""
    return arrival_of("192.0.2.1", header, kept(client, [backend(*headers)]), by_proxy)


def test_where_no_setting_asks_nothing_is_kept_and_otherwise_what_is_asked_for() -> None:
    whole = Arrival("192.0.2.1", "https://example.com", "Mozilla/5.0")
    assert of(ClientSection()) is UNKNOWN
    assert of(ClientSection(connect_hook=True)) == of(ClientSection(session_event_details=["origin"])) == whole
    assert of(ClientSection(), "cookie", "x-absent") == Arrival(headers={"cookie": "session=1"})
    assert of(ClientSection(), "x-absent") is UNKNOWN


def test_once_a_client_is_connected_only_headers_are_still_needed() -> None:
    whole = of(ClientSection(connect_hook=True), "cookie")
    whole.settle()
    assert whole == Arrival(headers={"cookie": "session=1"})


def test_what_facts_about_a_client_tell_is_needed_as_long_as_it_is_connected() -> None:
    whole = of(ClientSection(session_event_details=["address"]), "cookie")
    whole.settle(["address", "transport"])
    assert whole == Arrival("192.0.2.1", headers={"cookie": "session=1"})


@pytest.mark.parametrize("name", ["X-Real-IP", "x-forwarded-for", "Forwarded", "X-Auth-User"])
def test_a_backend_gets_what_proxies_write_from_proxies_only(name: str) -> None:
    asked = kept(ClientSection(user_id_http_header="X-Auth-User"), [backend(name, "Cookie")])
    for by_proxy, expected in ((True, {name.lower(), "cookie"}), (False, {"cookie"})):
        arrival = arrival_of("", lambda name: "127.0.0.1", asked, by_proxy)
        assert set(arrival.headers) == expected


def test_a_client_cannot_make_the_edge_hold_a_long_user_agent() -> None:
    arrival = arrival_of("", lambda name: "x" * 10_000, Kept(request=True), False)
    assert len(arrival.user_agent) == len(arrival.origin) == MAX_TEXT_LENGTH


def test_nothing_is_known_of_a_client_without_a_request() -> None:
    assert arrival_of("", lambda name: "", Kept(True, frozenset({"cookie"})), False) == UNKNOWN


class TestUserHeader:
    """Who a client is, as an authenticating proxy says."""

    HEADER = UserHeader("X-Auth-User")

    def user(self, by_proxy: bool, value: str) -> str:
        headers = {"x-auth-user": value.encode().decode("latin-1")}
        return self.HEADER.user(by_proxy, lambda name: headers.get(name, ""))

    def test_a_trusted_proxy_is_believed(self) -> None:
        assert self.user(True, "zoë") == "zoë"
        assert self.user(True, "") == ""

    def test_nobody_else_is_believed(self) -> None:
        assert self.user(False, "alice") == ""

    @pytest.mark.parametrize("value", ["\xff", "\0root", "a\tb", "a\x1b[31m"])
    def test_what_is_no_text_is_nobody_s_id(self, value: str) -> None:
        with pytest.raises(ValueError, match="x-auth-user to be text in UTF-8"):
            self.HEADER.user(True, lambda name: value)
