"""The opening handshake (RFC 6455, 4.2): accepted requests, and the HTTP response to all others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.uri import parse_uri

from services.edge.framing.handshake import HandshakeRefused, Upgrade, accept_response, parse_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # that of the example in RFC 6455, 1.3

HEADERS = {
    "Host": "edge.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request_with(header: str, value: str | None) -> bytes:
    lines = [f"{name}: {text}" for name, text in (HEADERS | {header: value}).items() if text is not None]
    return "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode()


def request(target: str = "/connection/websocket", method: str = "GET", **headers: str | None) -> bytes:
    """A request head; a header that is None is left out."""
    merged = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in merged.items() if value is not None),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refusal(head: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the refusal, which must be a response that HTTP clients can read."""
    with pytest.raises(HandshakeRefused) as refused:
        parse_upgrade(head)
    top, _, body = refused.value.response.partition(b"\r\n\r\n")
    status_line, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert status_line.startswith("HTTP/1.1 ")
    assert int(headers["content-length"]) == len(body)
    assert headers["connection"] == "close"
    return int(status_line.split(" ")[1]), headers, body


def test_the_example_of_the_rfc() -> None:
    upgrade = parse_upgrade(request())
    assert upgrade.path == "/connection/websocket"
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in accept_response(upgrade, None)


def test_cookies_in_several_headers_are_one_list_of_cookies() -> None:
    """As a proxy passes them on that took them over HTTP/2."""
    head = request(cookie="a=1", accept="x").replace(b"\r\n\r\n", b"\r\nCookie: b=2\r\nAccept: y\r\n\r\n")
    upgrade = parse_upgrade(head)
    assert (upgrade.header("cookie"), upgrade.header("accept")) == ("a=1; b=2", "x, y")


def test_a_stock_client_takes_our_answer() -> None:
    client = ClientProtocol(parse_uri("ws://edge.example.com/connection/websocket"), subprotocols=None)
    asked = client.connect()
    client.send_request(asked)
    client.receive_data(accept_response(parse_upgrade(b"".join(client.data_to_send())), None))
    assert [type(event) for event in client.events_received()] == [Response]
    assert client.handshake_exc is None


@pytest.mark.parametrize("chosen", ["centrifuge-json", None])
def test_the_chosen_subprotocol_is_echoed(chosen: str | None) -> None:
    response = accept_response(parse_upgrade(request()), chosen).decode()
    headers = Headers()
    for line in response.split("\r\n")[1:-2]:
        name, _, value = line.partition(": ")
        headers[name] = value
    assert headers.get("Sec-WebSocket-Protocol") == chosen


@pytest.mark.parametrize(
    ("offer", "heard"),
    [
        (None, []),
        ("", []),  # as centrifuge-python before 0.7 sends it
        ("centrifuge-json", ["centrifuge-json"]),
        ("a,centrifuge-protobuf , ,b", ["a", "centrifuge-protobuf", "b"]),
    ],
)
def test_subprotocols(offer: str | None, heard: list[str]) -> None:
    assert parse_upgrade(request(Sec_WebSocket_Protocol=offer)).subprotocols == heard


def test_an_offer_may_be_spread_over_several_headers() -> None:
    head = request()[:-2] + b"sec-websocket-protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n"
    assert parse_upgrade(head).subprotocols == ["a", "b"]


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "get"])
def test_only_get_opens_a_websocket(method: str) -> None:
    status, headers, _ = refusal(request(method=method))
    assert (status, headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Host", None),
        ("Upgrade", None),
        ("Upgrade", "h2c"),
        ("Upgrade", "websockets"),
        ("Connection", None),
        ("Connection", "keep-alive"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_the_request_meets_rfc_6455(header: str, value: str | None) -> None:
    assert refusal(request_with(header, value))[0] == 400


@pytest.mark.parametrize(
    ("header", "value"), [("Upgrade", "WebSocket"), ("Connection", "keep-alive, UPGRADE"), ("Content-Length", "0")]
)
def test_what_it_allows(header: str, value: str) -> None:
    assert parse_upgrade(request_with(header, value))


@pytest.mark.parametrize("name", ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin"])
def test_a_header_with_one_value_may_not_come_twice(name: str) -> None:
    line = f"{name}: {HEADERS.get(name, 'https://example.com')}\r\n".encode()
    head = request(Origin="https://example.com")[:-2] + line.upper() + b"\r\n"
    assert refusal(head)[0] == 400


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/2", ""])
def test_only_http_1_1_opens_a_websocket(version: str) -> None:
    assert refusal(request().replace(b"HTTP/1.1", version.encode()))[0] == 400


@pytest.mark.parametrize("target", ["http://edge.example.com/a?x=1", "HTTPS://edge.example.com:80/a?x=1", "/a?x=1"])
def test_the_target_may_be_a_whole_address(target: str) -> None:
    upgrade = parse_upgrade(request(target))
    assert (upgrade.path, upgrade.query) == ("/a", {"x": "1"})


def test_the_response_names_the_agreed_extension() -> None:
    response = accept_response(parse_upgrade(request()), None, "permessage-deflate")
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" in response


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "13, 8"])
def test_only_version_13_is_spoken(version: str | None) -> None:
    status, headers, _ = refusal(request(Sec_WebSocket_Version=version))
    assert (status, headers["sec-websocket-version"]) == (426, "13")


@pytest.mark.parametrize(
    "key", [None, "", "short", "dGhlIHNhbXBsZQ==", KEY + "AAAA", "A" * 24, "!" * 24, "é" * 24, f"{KEY}, {KEY}"]
)
def test_the_key_is_16_bytes_in_base64(key: str | None) -> None:
    status, _, body = refusal(request(Sec_WebSocket_Key=key))
    assert status == 400
    assert b"Sec-WebSocket-Key" in body


def test_a_query_is_decoded() -> None:
    upgrade = parse_upgrade(request("/a%20b?cf_protocol=protobuf&format=&x=a%20b&x=2&novalue"))
    assert upgrade.path == "/a%20b"
    assert upgrade.query == {"cf_protocol": "protobuf", "format": "", "x": "2", "novalue": ""}


def test_a_query_has_a_bounded_number_of_parameters() -> None:
    status, _, body = refusal(request("/?" + "&".join(f"p{i}=" for i in range(100))))
    assert status == 400
    assert b"query" in body


def test_header_names_have_any_case_and_values_any_space() -> None:
    head = request().replace(b"Sec-WebSocket-Version: 13", b"SEC-WEBSOCKET-VERSION:\t13 ")
    assert parse_upgrade(head).headers["sec-websocket-version"] == "13"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["front", "middle", "end", "alone"]))
def test_any_head_is_taken_or_refused(noise: bytes, where: str) -> None:
    good = request()
    at = {"front": 0, "middle": 40, "end": len(good) - 4, "alone": 0}[where]
    head = noise if where == "alone" else good[:at] + noise + good[at:]
    try:
        upgrade = parse_upgrade(head)
    except HandshakeRefused as refused:
        assert refused.response.startswith(b"HTTP/1.1 4")
        return
    assert isinstance(upgrade, Upgrade)
    assert accept_response(upgrade, None).startswith(b"HTTP/1.1 101 ")
