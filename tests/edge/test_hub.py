"""Which origins may connect, and a clock that does not jump."""

from __future__ import annotations

import time

import pytest

from services.edge.hub import Clock, Origins


@pytest.mark.parametrize("patterns", [[], ["*"], ["https://example.com"]])
def test_a_client_that_is_no_browser_sends_no_origin(patterns: list[str]) -> None:
    assert Origins(patterns).allow(None)


@pytest.mark.parametrize(
    ("patterns", "origin"),
    [
        (["*"], "https://anything.example"),
        (["*"], "null"),
        (["https://example.com"], "https://example.com"),
        (["https://Example.com"], "HTTPS://EXAMPLE.com"),
        (["https://*.example.com"], "https://chat.example.com"),
        (["https://a.example", "https://b.example:8443"], "https://b.example:8443"),
        (["http://localhost:*"], "http://localhost:3000"),
    ],
)
def test_origins_that_may(patterns: list[str], origin: str) -> None:
    assert Origins(patterns).allow(origin)


@pytest.mark.parametrize(
    ("patterns", "origin"),
    [
        ([], "https://example.com"),
        ([], ""),
        (["https://example.com"], "http://example.com"),
        (["https://example.com"], "https://example.com.evil.example"),
        (["https://example.com"], "https://evil.example/https://example.com"),
        (["https://example.com"], "https://example.com\n.evil.example"),
        (["https://example.com"], "https://example.com:8443"),
        (["https://a.example", "https://b.example"], "https://b.example.evil.example"),
        (["https://*.example.com"], "https://example.com"),
        (["https://*.example.com"], "https://example.com.evil.example"),
        (["https://example.com"], "https://exampleXcom"),
        (["https://example.com"], "null"),
    ],
)
def test_origins_that_may_not(patterns: list[str], origin: str) -> None:
    assert not Origins(patterns).allow(origin)


def test_the_clock_neither_jumps_nor_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, ticks = 1_767_225_600.0, 50.0
    monkeypatch.setattr(time, "time", lambda: wall)
    monkeypatch.setattr(time, "monotonic", lambda: ticks)
    clock = Clock()
    assert clock.now() == wall
    monkeypatch.setattr(time, "time", lambda: wall - 3600)  # an operator sets the wall clock
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 2)
    assert clock.now() == wall + 2
