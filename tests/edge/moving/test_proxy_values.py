"""What proxies have becomes what backends may have: anything else would stop the start."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from services.edge.moving.durations import NotConvertible
from services.edge.moving.values import convert

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("endpoint", ["h2c://127.0.0.1:12000", "127.0.0.1:3001", "http://user:password@127.0.0.1"])
def test_an_address_that_no_backend_has_is_refused_without_showing_it(endpoint: str) -> None:
    with pytest.raises(NotConvertible, match="expected url to be an address such as") as raised:
        convert("proxy.endpoint", endpoint, str)
    assert endpoint not in str(raised.value)


@pytest.mark.parametrize(("timeout", "written"), [("3s", "3s"), ("900ms", "900ms"), ("10s", "4.4s"), ("600s", "4.4s")])
def test_nobody_waits_longer_than_the_client_does(timeout: str, written: str) -> None:
    value, says = convert("proxy.timeout", timeout, object)
    assert value == written and bool(says) == (timeout != written)


def test_a_header_that_the_edge_sets_itself_is_left_out() -> None:
    names = ["Cookie", "Content-Type", "Sec-WebSocket-Key", "X-Real-Ip", "not a name"]
    value, says = convert("proxy.http_headers", names, list[str])
    assert value == ["Cookie", "X-Real-Ip"]
    assert "Content-Type" in says and "Sec-WebSocket-Key" in says and "not a name" in says
    assert convert("proxy.http_headers", "Cookie Origin", list[str])[0] == ["Cookie", "Origin"]
    value, says = convert("proxy.http.static_headers", {"X-Key": "k", "Host": "h", "X-Name": "Zoë"}, dict)
    assert value == {"X-Key": "k"} and "Zoë" not in says


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            {"status_code": 404, "to_error": {"code": 0}, "to_disconnect": {"code": 4504, "reason": "x"}},
            {"status_code": 404, "to_disconnect": {"code": 4504, "reason": "x"}},
        ),
        (
            {"status_code": 403, "to_error": {"code": 403, "message": "no"}, "to_disconnect": {"code": 0}},
            {"status_code": 403, "to_error": {"code": 403, "message": "no"}},
        ),
        (
            {"status_code": 401, "to_disconnect": {"code": 4501}},
            {"status_code": 401, "to_disconnect": {"code": 4501, "reason": "status 401"}},
        ),
    ],
)
def test_what_a_status_becomes_has_one_half(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert convert("proxy.http.status_to_code_transforms", [given, given], list)[0] == [made]


def test_a_status_that_cannot_become_anything_is_left_out() -> None:
    given = [{"status_code": 200, "to_error": {"code": 400}}, {"status_code": 500, "to_error": {"code": 5000}}]
    value, says = convert("proxy.http.status_to_code_transforms", given, list)
    assert value == [] and "without status 200" in says and "without status 500" in says


@pytest.mark.parametrize("option", ["proxy.http.tls.server_ca_pem", "broker.nats.tls.key_pem"])
def test_a_certificate_is_a_file(option: str) -> None:
    """Centrifugo 6 has one option for a path, the text and the text in base64."""
    assert convert(option, "/etc/tls/ca.pem", str) == ("/etc/tls/ca.pem", "")
    for text in (PEM, base64.b64encode(PEM.encode()).decode()):
        with pytest.raises(NotConvertible, match="write the PEM into a file"):
            convert(option, text, str)
