"""Reports of modes with promises name each one that was broken, and only those."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from perf.modes import attacks, comeback_figures, slow, start, storm, unread
from perf.modes.comeback_figures import Cost
from perf.report import recovery
from perf.report.distribution import distribution

STORM: dict[str, Any] = {
    "connections": 9,
    "back": 9,
    "recovered": 9,
    "expected": 90,
    "delivered": 90,
    "gaps": 0,
    "repeats": 0,
}
COMEBACK: dict[str, Any] = {
    **STORM,
    "cost_ratio": 1.5,
    "bystander_age_s": distribution([0.2]),
    "bystander_missed": 0,
    "nats_dropped_the_edge": 0,
    "grown_bytes": 100,
}
UNREAD: dict[str, Any] = {
    "missed": 0,
    "missed_before": 0,
    "age_s": distribution([0.2]),
    "nats_dropped_the_edge": 0,
    "grown_bytes": 100,
}
SLOW: dict[str, Any] = {"lagged": 3, "edge_rss_bytes_for_each_deaf": 10}


def figures(fields: dict[str, Any]) -> Any:
    return SimpleNamespace(**fields)


def test_a_storm_without_loss_keeps_every_promise() -> None:
    assert recovery.broken_promises(figures(STORM)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"back": 8, "recovered": 8}, "8 of 9 clients came back"),
        ({"recovered": 8}, "8 of 9 were recovered"),
        ({"delivered": 89}, "89 of 90 deliveries"),
        ({"gaps": 1}, "1 gaps"),
        ({"repeats": 2}, "2 repeats"),
    ],
)
def test_each_broken_promise_of_a_storm_is_named(change: dict[str, Any], words: str) -> None:
    assert [words in broken for broken in recovery.broken_promises(figures({**STORM, **change}))] == [True]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"back": 8, "recovered": 8}, "8 of 9 clients came back"),
        ({"recovered": 8}, "8 of 9 were recovered"),
        ({"delivered": 89}, "89 of 90 deliveries"),
        ({"gaps": 1}, "1 gaps"),
        ({"cost_ratio": 2.5}, "2.5 times what the fan-out took"),
        ({"bystander_age_s": distribution([0.3])}, "waited 0.30 s"),
        ({"bystander_age_s": distribution([])}, "for ever"),
        ({"bystander_missed": 3}, "bystanders missed 3"),
        ({"nats_dropped_the_edge": 1}, "NATS dropped the edge 1 times"),
        ({"grown_bytes": 3_000_000}, "grew by 3 MB"),
    ],
)
def test_each_broken_promise_of_a_comeback_is_named(change: dict[str, Any], words: str) -> None:
    broken = comeback_figures.broken_promises(figures({**COMEBACK, **change}), 2.0, 0.25, 1_000_000)
    assert [words in each for each in broken] == ([True] if words else [])


def test_the_cost_of_a_comeback_is_until_the_last_has_everything() -> None:
    assert Cost.of(10.0, 12.5, 0.25) == Cost(2.5, 0.25)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"missed": 5}, "missed 5"),
        ({"age_s": distribution([0.3])}, "waited 0.30 s"),
        ({"age_s": distribution([])}, "for ever"),
        ({"nats_dropped_the_edge": 2}, "NATS dropped the edge 2 times"),
        ({"grown_bytes": 3_000_000}, "grew by 3 MB"),
    ],
)
def test_what_an_attack_did_to_the_innocent_is_named(change: dict[str, Any], words: str) -> None:
    broken = unread.broken_promises(figures({**UNREAD, **change}), 0.25, 1_000_000)
    assert [words in each for each in broken] == ([True] if words else [])


def test_reconnects_are_placed_in_time() -> None:
    assert storm._bins([0.1, 0.2, 0.3, 1.0]) == {"0.00": 2, "0.25": 1, "1.00": 1}


@pytest.mark.parametrize(
    ("change", "lost_before", "lost", "words"),
    [
        ({}, 0, -5, []),  # clients that do not read took what was on its way
        ({}, 1, 0, ["1 deliveries were missing while all read"]),
        ({}, 0, 2, ["healthy clients missed 2 deliveries"]),
        ({"lagged": 0}, 0, 0, ["no client lagged"]),
        ({"edge_rss_bytes_for_each_deaf": 101}, 0, 0, ["the edge grew by 101 bytes"]),
    ],
)
def test_a_slow_client_s_cost_is_judged(change: dict[str, Any], lost_before: int, lost: int, words: list[str]) -> None:
    broken = slow.broken_promises(figures({**SLOW, **change}), lost_before, lost, memory_bound=100)
    assert len(broken) == len(words)
    assert all(said.startswith(word) for said, word in zip(broken, words, strict=True))


def test_a_median_above_the_bound_is_too_slow() -> None:
    assert start.too_slow(figures({"ready_s": figures({"p50": 0.7}), "bound_s": 0.6}))
    assert not start.too_slow(figures({"ready_s": figures({"p50": 0.5, "max": 9.0}), "bound_s": 0.6}))


ATTACKED: dict[str, Any] = {
    "own_ping_s": SimpleNamespace(max=0.04),
    "bystander_lost": False,
    "refused": {},
    "taken_for_lost": 0,
    "descriptors": (15, 15),
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"own_ping_s": SimpleNamespace(max=0.06)}, ["a ping took 60.0 ms"]),
        ({"own_ping_s": SimpleNamespace(max=None), "bystander_lost": True}, ["a ping took - ms", "the bystander"]),
        ({"refused": {"TimeoutError": 3}}, ["connects failed: 3 x TimeoutError"]),
        ({"taken_for_lost": 1}, ["the other edge took it for lost"]),
        ({"descriptors": (15, 17)}, ["2 descriptors stayed open"]),
    ],
)
def test_what_an_attack_costs_a_bystander_is_judged(change: dict[str, Any], words: list[str]) -> None:
    broken = attacks.broken_promises(figures({**ATTACKED, **change}), bound_s=0.05)
    assert len(broken) == len(words)
    assert all(said.startswith(word) for said, word in zip(broken, words, strict=True))
