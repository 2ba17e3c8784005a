from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from services.sessions.commands.screen import Screen, client_of, counted, share, sized, spoken
from services.sessions.queries.periods import Period, Point
from tests.sessions.commands.asked import zone

NOW = datetime(2026, 11, 28, 13, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def berlin() -> Iterator[None]:
    with zone("CET-1CEST,M3.5.0,M10.5.0/3"):
        yield


@contextmanager
def narrow(monkeypatch: pytest.MonkeyPatch, columns: int) -> Iterator[StringIO]:
    """What is printed on a terminal of so many columns."""

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    printed = Terminal()
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", str(columns))
        patch.setattr("sys.stdout", printed)
        yield printed


def test_times_are_local_and_name_the_day_only_if_it_is_another():
    screen = Screen(NOW)
    assert screen.time(NOW) == "14:30:00"
    assert screen.time(NOW - timedelta(days=1), seconds=False) == "27 Nov 14:30"
    assert screen.time(datetime(2025, 12, 1, 12, 0, 5, tzinfo=UTC)) == "1 Dec 2025 13:00:05"
    assert screen.time(None) == ""
    assert screen.zone == "28 Nov 2026, CET (+01:00)"
    assert screen.period(Period(NOW - timedelta(hours=1), NOW)) == "from 13:30 to now (28 Nov 2026, CET (+01:00))"


def test_times_before_a_change_of_clocks_say_their_distance_to_utc():
    """The zone that an answer names is that of now."""
    screen = Screen(datetime(2026, 10, 25, 1, 40, tzinfo=UTC))
    assert screen.zone == "25 Oct 2026, CET (+01:00)"
    noon = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert screen.time(noon) == "24 Oct 14:00:00+02:00" and screen.hour(noon) == "14:00+02:00"
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    assert (screen.time(first), screen.time(second)) == ("02:30:00+02:00", "02:30:00")
    assert screen.exact(first + timedelta(milliseconds=5)) == "02:30:00.005+02:00"
    assert screen.period(Period(first, second)) == "from 02:30+02:00 to 02:30 (25 Oct 2026, CET (+01:00))"


def test_a_plot_across_a_change_of_clocks_says_which_hour_is_meant(capsys):
    now = datetime(2026, 10, 25, 3, tzinfo=UTC)
    points = [Point(now - timedelta(minutes=n), 1) for n in range(180, 0, -1)]
    Screen(now).plot(points, 60, "drops")
    marks = capsys.readouterr().out.splitlines()[-1].split()
    assert marks[:5] == ["02:00+02:00", "02:24+02:00", "02:48+02:00", "02:12", "02:36"]


def test_a_moment_is_said_as_exactly_as_it_was_asked_about():
    at = datetime(2026, 11, 28, 12, 0, 7, tzinfo=UTC)
    said = {0: "13:00:07.0", 5: "13:00:07.005", 800: "13:00:07.8", 999: "13:00:07"}
    assert {ms: Screen(NOW).exact(at + timedelta(milliseconds=ms)) for ms in said} == said


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("12:00:00", "12:30:00", "from 13:00 to 13:30"),
        ("12:00:07", "12:00:08", "from 13:00:07 to 13:00:08"),
        ("12:00:00", "12:00:00.25", "from 13:00 to 13:00:00.25"),
        ("12:00:00.8", "13:31:00", "from 13:00:00.8 to now"),
    ],
)
def test_a_period_is_said_as_exactly_as_it_is(since, until, said):
    bounds = [datetime.fromisoformat(f"2026-11-28T{each}+00:00") for each in (since, until)]
    assert Screen(NOW).period(Period(*bounds)) == f"{said} (28 Nov 2026, CET (+01:00))"


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


def test_narrow_columns_stay_whole_on_a_terminal_with_room_for_them(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    row = ("alice", "198.51.100.20", "28 Nov 14:02:10", "chat:lobby, news and " + "x" * 200)
    with narrow(monkeypatch, 60) as printed:
        Screen(NOW).table(("USER", "ADDRESS", "SINCE", "CHANNELS"), [row])
    first = printed.getvalue().splitlines()[1]
    assert first.startswith("alice  198.51.100.20  28 Nov 14:02:10  chat:lobby,")
    assert max(map(len, printed.getvalue().splitlines())) <= 60


def test_on_a_terminal_without_room_cells_stand_below_each_other(monkeypatch):
    row = ("alice", "198.51.100.20", "", "28 Nov 14:02:10", "abcdefghijklmnopqrst")
    columns = ("USER", "ADDRESS", "EDGE", "SINCE", "CHANNELS")
    with narrow(monkeypatch, 28) as printed:
        Screen(NOW).table(columns, [row, ("bob", "", "e1", "", "")])
    assert printed.getvalue().splitlines() == [
        "USER      alice",
        "ADDRESS   198.51.100.20",
        "SINCE     28 Nov 14:02:10",
        "CHANNELS  abcdefghijklmnopqr",
        "          st",
        "",
        "USER      bob",
        "EDGE      e1",
    ]


def test_a_table_that_fits_is_one_however_many_columns_it_has(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    columns = ("EDGE", "STARTED", "VERSION", "STATE", "LIVED", "CLIENTS", "LOST", "DRAIN")
    row = ("edge-1", "13:10:30", "1.2.0", "running", "19 min 30 s", "1,204", "12", "2.1 s")
    with narrow(monkeypatch, 80) as printed:
        Screen(NOW).table(columns, [row])
    head, line = printed.getvalue().splitlines()
    assert (head.split(), line.split()) == (list(columns), " ".join(row).split())


def test_ids_are_cut_and_the_longest_column_goes_below_where_there_is_no_room(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    row = ("alice", "0f9a1c22-7d1e-4a55-9d3c-0123456789ab", "chat:lobby, news, chat:staff and 14 more")
    columns = ("USER", "SESSION", "CHANNELS")
    for width, cut, lines in (
        (100, False, ["  ".join(row)]),
        (70, True, ["alice  0f9a1c22  chat:lobby, news, chat:staff and 14 more"]),
        (40, True, ["alice  0f9a1c22", "    chat:lobby, news, chat:staff and 14", "    more"]),
    ):
        with narrow(monkeypatch, width) as printed:
            assert Screen(NOW).table(columns, [row], ids=(1,), below=2) is cut
        assert printed.getvalue().splitlines()[1:] == lines


def test_what_has_no_room_in_its_line_goes_on_indented(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    heading, sentence = "14:02:11  1001: the edge was being stopped", "Ended by a drain, after 1 min on edge-1."
    for width, lines in (
        (60, [heading, "    " + sentence]),
        (
            30,
            [
                "14:02:11  1001: the edge",
                "    was being stopped",
                "    Ended by a drain, after 1",
                "    min on edge-1.",
            ],
        ),
    ):
        with narrow(monkeypatch, width) as printed:
            Screen(NOW).block(heading, [sentence])
        assert printed.getvalue().splitlines() == lines


def test_columns_that_belong_together_are_left_out_together(capsys):
    columns = ("CLIENT", "RATE", "BEFORE")
    Screen(NOW).table(columns, [("js", "", "5 %")], (1, 2), together=(1, 2))
    Screen(NOW).table(columns, [("js", "", "")], (1, 2), together=(1, 2))
    assert capsys.readouterr().out == "CLIENT  RATE  BEFORE\njs               5 %\nCLIENT\njs\n"


def test_a_plot_of_more_than_a_day_says_the_day_at_each_mark(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    points = [Point(NOW - timedelta(hours=n), 1) for n in range(30, -1, -1)]
    with narrow(monkeypatch, 80) as printed:
        Screen(NOW).plot(points, 3600, "drops")
    assert printed.getvalue().splitlines()[-1] == "   27 Nov 08:30    27 Nov 16:30    28 Nov 00:30    28 Nov 08:30  now"


def test_days_are_those_of_utc_as_they_are_counted_and_the_title_says_so(capsys):
    days = [Point(datetime(2026, 11, day, tzinfo=UTC), 1) for day in range(20, 29)]
    with zone("EST5EDT,M3.2.0,M11.1.0"):  # New York
        Screen(NOW).plot(days, 86_400, "drops")
        Screen(NOW).plot(days[:-1], 86_400, "drops")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "drops" in line] == ["drops per d (days in UTC)"] * 2
    (first, *_, last), past = (re.findall(r"\d+ Nov|now", line) for line in lines if "Nov" in line)
    assert (first, last, past[-1]) == ("20 Nov", "now", "28 Nov")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_bold_heads_unless_it_wants_no_color(monkeypatch, no_color):
    monkeypatch.setenv("NO_COLOR", no_color)
    with narrow(monkeypatch, 60) as printed:
        Screen(NOW).table(("USER",), [("alice",)])
        Screen(NOW).heading("the end")
    assert ("\x1b" in printed.getvalue()) is not bool(no_color)


def test_groups_that_a_table_leaves_out_are_counted(capsys):
    groups = [Point(NOW, 5), Point(NOW, 2)]
    Screen(NOW).rest(groups, 9, 2, "drop")
    assert capsys.readouterr().out == "\nThese are the 2 largest groups. 2 drops in other groups.\n"
    Screen(NOW).rest(groups, 7, 2, "drop")
    Screen(NOW).rest(groups, 9, 3, "drop")
    assert not capsys.readouterr().out


def test_a_column_that_is_empty_everywhere_takes_no_room(capsys):
    screen = Screen(NOW)
    screen.table(
        ("USER", "ADDRESS", "SESSION", "CHANNELS"), [("ann", "", "s1", "2"), ("bob", "", "s2", "10")], (3,), ids=(2,)
    )
    screen.table(("USER", "ADDRESS"), [])
    assert (
        capsys.readouterr().out
        == "USER  SESSION  CHANNELS\nann   s1              2\nbob   s2             10\nUSER  ADDRESS\n"
    )
