"""The tables of a comparison: medians, marks, what was not measured; and the order in which systems are run."""

from __future__ import annotations

from perf.report import comparison_table
from perf.report.comparison import Connects, Stop, Trial
from perf.systems.rotation import rotated


def trial(system: str, p99_s: float, starved: bool = False, connected: int = 100) -> Trial:
    connects = Connects(500.0, 100, connected, p99_s / 2, p99_s, 400.0, 1.5, 0.001, starved)
    stop = Stop(10, 1.0, {"1001": 10})
    return Trial(
        system=system, repeat=1, start_s=0.5, connection_pss_bytes=8000, steady=connects, burst=connects, stop=stop
    )


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_cell_is_the_median_of_the_repeats() -> None:
    trials = [trial("a", p99) for p99 in (0.1, 0.9, 0.2)]
    assert comparison_table.medians(trials, "a")["steady_p99"] == 200.0
    head, _, row = rows(comparison_table.markdown(trials, {"a": "System A"}))[:3]
    assert row[0] == "System A"
    assert row[head.index("p99 ms")] == "200.0"


def test_failed_connections_show() -> None:
    head, _, row = rows(comparison_table.markdown([trial("a", 0.1, connected=26)], {"a": "A"}))[:3]
    assert row[head.index("burst: connected")] == "26.0 %"


def test_a_cell_of_starved_clients_is_marked_and_the_mark_explained() -> None:
    starved = comparison_table.markdown([trial("a", 0.1), trial("a", 0.1, starved=True)], {"a": "A"})
    assert "100.0*" in starved
    assert starved.endswith(comparison_table.STARVED_NOTE)
    assert "*" not in comparison_table.markdown([trial("a", 0.1)], {"a": "A"})


def test_what_was_not_measured_is_a_dash() -> None:
    lines = rows(comparison_table.markdown([Trial(system="a", repeat=1)], {"a": "A"}))
    assert {cell for row in lines if row[0] == "A" for cell in row[1:]} == {"-"}


def test_close_codes_are_those_that_clients_saw() -> None:
    head, _, row = rows(comparison_table.markdown([trial("a", 0.1)], {"a": "A"}))[3:6]
    assert row[head.index("close code")] == "1001"


def test_how_many_times_slower() -> None:
    trials = [trial("theirs", 5.0), trial("ours", 0.25)]
    assert comparison_table.times_slower(trials, "theirs", "ours") == {"steady_p99": 20.0, "burst_p99": 20.0}
    assert comparison_table.times_slower(trials, "theirs", "absent") is None


def test_every_repeat_has_all_of_them_and_begins_with_another() -> None:
    orders = rotated(list("abcdefgh"), 3)
    assert [sorted(order) for order in orders] == [list("abcdefgh")] * 3
    assert len({order[0] for order in orders}) == 3
    assert rotated(["a"], 2) == [["a"], ["a"]]
