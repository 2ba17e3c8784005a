"""The tables of codes against the reference (client-protocol.md, section 4)."""

from __future__ import annotations

import json

import pytest

from proto import codes
from proto.codes import CloseCode, ErrorCode, UnsubscribeCode

ERRORS = [value for value in vars(codes).values() if isinstance(value, ErrorCode)]
UNSUBSCRIBES = [value for value in vars(codes).values() if isinstance(value, UnsubscribeCode)]
CLOSES = [value for value in vars(codes).values() if isinstance(value, CloseCode)]

REFERENCE_CLOSES = {
    3000: "connection closed", 3001: "shutdown", 3004: "internal server error", 3005: "connection expired",
    3006: "subscription expired", 3008: "slow", 3009: "write error", 3010: "insufficient state",
    3011: "force reconnect", 3012: "no pong", 3013: "too many requests", 3014: "state invalidated",
    3500: "invalid token", 3501: "bad request", 3502: "stale", 3503: "force disconnect", 3504: "connection limit",
    3505: "channel limit", 3506: "inappropriate protocol", 3507: "permission denied", 3508: "not available",
    3509: "too many errors",
}  # fmt: skip
REFERENCE_ERRORS = {
    100: "internal server error", 101: "unauthorized", 102: "unknown channel", 103: "permission denied",
    104: "method not found", 105: "already subscribed", 106: "limit exceeded", 107: "bad request", 108: "not available",
    109: "token expired", 110: "expired", 111: "too many requests", 112: "unrecoverable position",
    113: "concurrent pagination",
}  # fmt: skip


def test_errors_are_those_of_the_reference() -> None:
    assert {error.code: error.message for error in ERRORS} == REFERENCE_ERRORS
    assert {error.code for error in ERRORS if error.temporary} == {100, 111, 113}


def test_unsubscribe_codes_are_those_of_the_reference() -> None:
    assert {code.code: code.reason for code in UNSUBSCRIBES} == {
        2000: "server unsubscribe",
        2500: "insufficient state",
        2501: "subscription expired",
        2502: "state invalidated",
    }


def test_close_codes_are_those_of_the_reference_and_of_the_websocket_protocol() -> None:
    ours = {close.code: close.reason for close in CLOSES}
    assert {code: reason for code, reason in ours.items() if code >= 3000} == REFERENCE_CLOSES
    assert {code for code in ours if code < 3000} == {1000, 1001, 1002, 1007, 1009}


@pytest.mark.parametrize("table", [ERRORS, UNSUBSCRIBES, CLOSES])
def test_a_number_stands_for_one_thing(table: list[ErrorCode] | list[UnsubscribeCode] | list[CloseCode]) -> None:
    numbers = [code.code for code in table]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("reason", sorted({*(code.reason for code in UNSUBSCRIBES), *(code.reason for code in CLOSES)}))
def test_sdks_can_use_a_reason(reason: str) -> None:
    """centrifuge-js ignores the terminal ranges when it is empty or parses as JSON; a close frame holds 123 bytes."""
    assert 0 < len(reason.encode()) <= 123
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(reason)


@pytest.mark.parametrize(
    ("first", "last", "comes_back"),
    [(1000, 2999, True), (3000, 3499, True), (3500, 3999, False), (4000, 4499, True), (4500, 4999, False)],
)
def test_who_comes_back(first: int, last: int, comes_back: bool) -> None:
    assert {CloseCode(code, "x").reconnect for code in range(first, last + 1)} == {comes_back}


def test_a_drained_client_comes_back() -> None:
    assert codes.GOING_AWAY.code == 1001
    assert codes.GOING_AWAY.reconnect


@pytest.mark.parametrize("reason", ["x", "x" * 123, "go away", "é" * 61, "NaN is not what it says", '"half'])
def test_a_reason_of_an_application_s_own(reason: str) -> None:
    codes.check_close_reason(reason)


@pytest.mark.parametrize("reason", ["", "x" * 124, "é" * 62, "7", "null", '"text"', "{}", " [1] ", '"\\ud800"', "NaN"])
def test_a_reason_that_sdks_do_not_take(reason: str) -> None:
    with pytest.raises(ValueError, match="expected a reason"):
        codes.check_close_reason(reason)
