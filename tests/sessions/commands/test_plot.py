from __future__ import annotations

from services.sessions.commands.plot import condensed, curve


def test_the_greatest_value_reaches_the_top_and_the_least_is_seen():
    assert curve([0, 1, 100, 50], ["13:00", "", "", ""], height=2) == [
        "100 │  █",
        "  0 │ ▁██",
        "    └────",
        "     13:00",
    ]


def test_marks_stand_below_their_columns_where_there_is_room():
    marks = [f"13:{minute:02}" for minute in range(30)]
    assert curve([1] * 30, marks, height=1)[-1] == "   13:00       13:12       13:24"


def test_few_values_are_wide_and_each_has_its_mark():
    assert curve([1, 2], ["12:00", "13:00"], wide=6, height=1) == [
        "2 │▄▄▄▄▄▄██████",
        "  └────────────",
        "   12:00 13:00",
    ]


def test_the_end_has_a_mark_whether_or_not_the_last_value_has_room_for_one():
    marks = [f"13:{minute:02}" for minute in range(30)]
    assert curve([1] * 30, marks, "now", height=1)[-1] == "   13:00       13:12       13:24 now"
    days = [f"2{day} Nov 09:00" for day in range(4)]
    assert curve([1] * 4, days, "now", wide=6, height=1)[-1] == "   20 Nov 09:00            now"
    assert curve([1, 2], ["12:00", "13:00"], "14:00", wide=6, height=1)[-1] == "   12:00 13:00 14:00"
    assert curve([1, 2], ["27 Nov 12:00", ""], "now", height=1)[-1] == "   27 Nov 12:00  now"


def test_marks_never_run_together() -> None:
    """A mark with its day may be followed by one that is shorter than it."""
    marks = ["27 Nov 22:00", "27 Nov 23:00", "0:00", "1:00", "2:00", "3:00"]
    assert curve([1] * 6, marks, wide=6, height=1)[-1] == "   27 Nov 22:00      1:00        3:00"
    days = [f"{day} Nov" for day in range(10, 20)]
    assert curve([1] * 10, days, wide=3, height=1)[-1] == "   10 Nov   13 Nov   16 Nov"


def test_no_values_are_no_curve_and_zeros_are_a_flat_one():
    assert curve([], []) == []
    assert curve([0, 0], ["", ""], height=1)[:2] == ["0 │", "  └──"]


def test_values_that_have_no_room_are_joined():
    assert condensed([1, 2, 3, 4, 5], 2, sum) == ([6, 9], 3)
    assert condensed([1, 9, 3, 4, 5], 2, max) == ([9, 5], 3)
    assert condensed([1, 2], 80, sum) == ([1, 2], 1)
    assert condensed([1, 2], 0, sum) == ([3], 2)
