"""The drain report names every promise that was broken, and only those."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from perf.load.tally import Progress, Tally
from perf.modes.drain_figures import ClientFigures, broken_promises

CLIENTS: dict[str, Any] = {"connected": 20, "close_codes": {"1001": 20}}
KEPT: dict[str, Any] = {
    "connections": 20,
    "exit_code": 0,
    "exit_s": 2.5,
    "promised_exit_s": 10.0,
    "session_end_codes": {"1001": 20},
    "tracebacks": 0,
}


def figures(**changes: Any) -> Any:
    clients = {name: changes.pop(name, value) for name, value in CLIENTS.items()}
    return SimpleNamespace(**{**KEPT, **changes}, clients=SimpleNamespace(**clients))


def test_nothing_is_broken_when_all_is_well() -> None:
    assert broken_promises(figures()) == []
    assert broken_promises(figures(session_end_codes=None)) == []  # was not asked for


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"connected": 19}, "19 of 20 clients"),
        ({"close_codes": {"1001": 19, "1012": 1}}, "1012"),
        ({"close_codes": {"1001": 19}}, "1001"),
        ({"close_codes": {"1001": 19, "none": 1}}, "none"),
        ({"exit_code": -9}, "exit code -9"),
        ({"exit_code": None, "exit_s": None}, "not gone within 10 s"),
        ({"exit_s": 10.2}, "not gone within 10 s"),
        ({"promised_exit_s": 2.0}, "not gone within 2 s"),
        ({"session_end_codes": {"1001": 19}}, "PostgreSQL"),
        ({"session_end_codes": {"1001": 19, "1006": 1}}, "1006"),
        ({"tracebacks": 1}, "traceback"),
    ],
)
def test_each_broken_promise_is_named(change: dict[str, Any], words: str) -> None:
    assert any(words in promise for promise in broken_promises(figures(**change)))


def test_closes_are_placed_in_time_after_the_signal() -> None:
    tally = Tally(progress=Progress(3, 3, 0, 3), lost_at=[100.1, 100.6, 100.7], losses=Counter({"close 1001 x": 3}))
    figures = msgspec.to_builtins(ClientFigures.of(tally, sent_at=100.0))
    assert figures["closes_by_quarter_second"] == {"0.00": 1, "0.50": 2}
    assert figures["close_codes"] == {"1001": 3}
    assert figures["close_after_signal_s"] == {"first": 0.1, "p50": 0.6, "p90": 0.7, "p99": 0.7, "max": 0.7}
