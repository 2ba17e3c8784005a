"""perf starts no run that is aimed elsewhere, and none that this machine's limits doom."""

from __future__ import annotations

import pytest

from perf.errors import Refusal
from perf.load import target
from perf.load.target import Target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8000/connection/websocket", Target("127.0.0.1", 8000, "/connection/websocket")),
        ("ws://127.3.2.1:1/x?cf_ws_frame_ping_pong=true", Target("127.3.2.1", 1, "/x?cf_ws_frame_ping_pong=true")),
        ("ws://localhost", Target("127.0.0.1", 80, "/")),
        ("ws://[::1]:8000/x", Target("::1", 8000, "/x")),
    ],
)
def test_loopback_is_measured(url: str, expected: Target) -> None:
    assert target.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ws://10.0.0.1:8000/x",
        "ws://0.0.0.0:8000/x",
        "ws://example.org/x",
        "ws://127.0.0.1.example.org/x",
        "ws://127.0.0.1@example.org/x",
        "wss://127.0.0.1/x",
        "http://127.0.0.1/x",
        "ws://127.0.0.1:99999/x",
        "127.0.0.1:8000",
        "ws://[::2]/x",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(Refusal):
        target.parse(url)


def test_a_run_that_fits_is_let_through() -> None:
    target.check_limits("127.0.0.1", 5000, 2, 1, 20_000, 28_000)


@pytest.mark.parametrize(
    ("connections", "processes", "spread", "advice"),
    [
        (5000, 1, 1, "--processes 6"),  # (1024 - 64) in each
        (5000, 1, 1, "ulimit -n 5064"),
        (30_000, 40, 1, "--source-spread 2"),
        (10, 0, 1, "at least 1"),
        (0, 1, 1, "at least 1"),
        (10, 1, 0, "addresses"),
        (10, 1, 10**6, "addresses"),
    ],
)
def test_a_refusal_says_what_to_do(connections: int, processes: int, spread: int, advice: str) -> None:
    with pytest.raises(Refusal, match=advice):
        target.check_limits("127.0.0.1", connections, processes, spread, 1024, 28_000)


def test_ipv6_has_one_source_address_only() -> None:
    with pytest.raises(Refusal, match="IPv4"):
        target.check_limits("::1", 10, 1, 2, 1024, 28_000)
