"""A report warns when its figures say more of the generator than of the server."""

from __future__ import annotations

from perf.report.reliability import busy_clients, starved


def test_a_starved_generator_is_told_from_a_slow_server() -> None:
    assert starved(lateness_p99_s=0.05, measured_p99_s=0.06)
    assert not starved(lateness_p99_s=0.05, measured_p99_s=5.0)
    assert not starved(lateness_p99_s=0.0015, measured_p99_s=0.003)  # within what timers can do
    assert not starved(None, None)


def test_busy_client_processes_are_a_row_of_the_table() -> None:
    assert busy_clients(0.5) == []
    [(name, text)] = busy_clients(0.9)
    assert name == "READ WITH CARE" and "90% busy" in str(text)
