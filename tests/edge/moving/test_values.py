"""Values that mean the same in another spelling."""

from __future__ import annotations

import re
from typing import Any

import pytest

from services.chassis.process.settings import Duration
from services.edge.moving.durations import NotConvertible
from services.edge.moving.values import convert


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("60s", 60),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1500us", 0.0015),
        ("2w", 1_209_600),
        (".5s", 0.5),
        (0, 0),
        (5_000_000_000, 5),
        ("5000000000", 5),
    ],
)
def test_durations_of_go_are_read(written: Any, seconds: float) -> None:
    value, _ = convert("client.stale_close_delay", written, Duration)
    assert float(Duration.parse(value)) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["-1s", -1, "soon", "1y", True, None, []])
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(NotConvertible):
        convert("client.stale_close_delay", written, Duration)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^[a-z]+$", ["abc"], ["ab1", "", "ABC"]),
        ("[a-z]", ["1a1", "a"], ["11"]),
        ("^a|b$", ["axx", "xxb"], ["xax", "xbx"]),
        (r"^\d+$", ["12"], ["1x", "١٢"]),
        (r"^room\$", ["room$x"], ["room", "xroom$"]),
        ("", ["anything"], []),
    ],
)
def test_an_expression_goes_on_matching_the_same_names(pattern: str, matching: list[str], others: list[str]) -> None:
    mine, _ = convert("namespace.channel_regex", pattern, str)
    expression = re.compile(mine or ".*")
    assert all(expression.fullmatch(name) for name in matching)
    assert not any(expression.fullmatch(name) for name in others)


@pytest.mark.parametrize("pattern", [r"^\pL+$", "[[:alpha:]]", r"a\z", r"\Qa.b\E", "(?i)a", "("])
def test_an_expression_of_go_alone_is_refused(pattern: str) -> None:
    with pytest.raises(NotConvertible, match="Python regular expression"):
        convert("namespace.channel_regex", pattern, str)


def test_an_expression_for_a_claim_is_not_made_as_wide_as_go_s() -> None:
    """What is found anywhere in an issuer lets strangers in."""
    mine, says = convert("client.token.issuer_regex", r"https://[a-z]+\.example\.com", str)
    assert not re.fullmatch(mine, "https://shop.example.com.evil.example") and "the whole claim" in says
    assert re.fullmatch(mine, "https://shop.example.com")
    assert convert("client.token.issuer_regex", "^[a-z]+$", str) == ("^[a-z]+$", "")
    with pytest.raises(NotConvertible, match="expected no repeat"):
        convert("client.token.issuer_regex", r"^([a-z]+\.)+com$", str)


def test_levels_of_the_log_have_other_names() -> None:
    assert [convert("log.level", level, str)[0] for level in ("trace", "warn", "fatal", "none", "info")] == [
        "debug",
        "warning",
        "error",
        "error",
        "info",
    ]


def test_origins_with_other_wildcards_are_the_operators_to_write() -> None:
    assert convert("client.allowed_origins", ["https://*.example.com"], list[str])[0] == ["https://*.example.com"]
    for lost in ("https://?.example.com", "https://[a-c].example.com", "https://{a,{b,c}}.example.com"):
        with pytest.raises(NotConvertible, match=r"only \* is special") as refused:
            convert("client.allowed_origins", ["http://[::1]:3000", lost], list[str])
        assert lost in str(refused.value)
        assert refused.value.taken == ["http://[::1]:3000"], "the others go on"


def test_alternatives_in_an_origin_are_written_out() -> None:
    value, says = convert("client.allowed_origins", "https://{a,b}.example.{com,org} https://c.example", list[str])
    assert value == [
        *(f"https://{host}" for host in ("a.example.com", "a.example.org")),
        *(f"https://{host}" for host in ("b.example.com", "b.example.org", "c.example")),
    ]
    assert "written out" in says
    many = "https://" + "{a,b}" * 9 + ".example"
    with pytest.raises(NotConvertible, match=r"only \* is special"):
        convert("client.allowed_origins", many, list[str])


def test_one_origin_that_nobody_sends_does_not_shut_the_others_out() -> None:
    given = ["https://app.example.com", "app.example.com"]
    value, says = convert("client.allowed_origins", given, list[str])
    assert value == ["https://app.example.com"]
    assert says.startswith("without 1 of 2: ") and 'expected "https://app.example.com"' in says


def test_what_needs_a_second_setting_says_so() -> None:
    assert "edge.trusted_proxies" in convert("client.user_id_http_header", "X-User", str)[1]
