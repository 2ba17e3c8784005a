from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from services.sessions.commands.screen import Screen, client_of, counted, share, sized, spoken
from services.sessions.queries.periods import Period, Point

NOW = datetime(2026, 11, 28, 13, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


def test_times_are_local_and_name_the_day_only_if_it_is_another():
    screen = Screen(NOW)
    assert screen.time(NOW) == "14:30:00"
    assert screen.time(NOW - timedelta(days=1), seconds=False) == "27 Nov 14:30"
    assert screen.time(datetime(2025, 7, 1, 12, 0, 5, tzinfo=UTC)) == "1 Jul 2025 14:00:05"
    assert screen.time(None) == ""
    assert screen.zone == "28 Nov 2026, CET (+01:00)"
    assert screen.period(Period(NOW - timedelta(hours=1), NOW)) == "from 13:30 to now (28 Nov 2026, CET (+01:00))"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0304, "30 ms"), (3.21, "3.2 s"), (3, "3 s"), (59.4, "59 s"), (59.6, "1 min"), (240, "4 min"),
        (245, "4 min 5 s"), (3599.9, "1 h"), (7500, "2 h 5 min"), (90_000, "1 d 1 h"), (-3, "-3 s"),
    ],
)  # fmt: skip
def test_durations_as_people_say_them(seconds, text):
    assert spoken(timedelta(seconds=seconds)) == text


def test_counts_sizes_and_shares():
    assert (counted(1, "session"), counted(1200, "session")) == ("1 session", "1,200 sessions")
    assert (sized(812), sized(4200), sized(3 * 1024**3)) == ("812 B", "4.1 KiB", "3.0 GiB")
    assert (share(1, 3), share(1, 30), share(0, 0), share(3, 3)) == ("33 %", "3.3 %", "0 %", "100 %")
    assert (client_of("js", "5.8"), client_of("", "")) == ("js 5.8", "?")


def test_nothing_that_a_client_chose_controls_the_terminal_or_is_cut(capsys):
    wild = "\x1b[2J[red]\u202eevil\r\n" + "x" * 300
    Screen(NOW).table(("USER", "N"), [(wild, "1"), ("bob", "22")], numbers=(1,))
    head, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("\\x1b[2J[red]\\u202eevil\\r\\nxxx") and "x" * 300 in first
    assert head.split() == ["USER", "N"] and second.endswith("  22") and len(first) == len(second)


def test_a_plot_is_as_wide_as_there_is_room(capsys):
    start = NOW - timedelta(hours=6)
    Screen(NOW).plot([Point(start + timedelta(minutes=n), n % 2) for n in range(360)], 60, "drops")
    empty, title, *lines = capsys.readouterr().out.splitlines()
    assert not empty
    assert title == "drops per 4 min" and max(map(len, lines)) <= 100
    assert lines[0].startswith("2 │") and "08:30" in lines[-1]
