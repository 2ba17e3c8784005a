"""Ranges follow each other without gaps or overlaps, whatever is there already."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sessions import tables
from services.sessions.partitions import TIME_COLUMNS, Range, missing, outlived, partition, width_of

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)  # a Sunday


def midnight(day: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + (day - 1) * DAY


def test_all_tables_that_are_partitioned_are_known():
    described = {
        name: table.dialect_options["postgresql"]["partition_by"]
        for name, table in tables.SessionRow.metadata.tables.items()
        if table.dialect_options["postgresql"]["partition_by"]
    }
    assert described == {table: f"RANGE ({column})" for table, column in TIME_COLUMNS.items()}


@pytest.mark.parametrize(("days", "width"), [(0, 30), (0.5, 1), (14, 1), (15, 7), (30, 7), (180, 7), (181, 30)])
def test_little_is_kept_in_short_ranges(days: float, width: int):
    assert width_of(days * DAY) == width * DAY


def test_weeks_begin_on_monday():
    made = missing([], NOW - 7 * DAY, NOW, 7 * DAY)
    assert made == [Range(midnight(day), midnight(day + 7)) for day in (16, 23, 30)]
    assert partition("sessions", made[0]).name == "sessions_p20261116"


def test_ranges_that_are_there_are_continued():
    there = [Range(midnight(23), midnight(30))]
    assert missing(there, NOW, NOW, DAY) == [Range(midnight(30), midnight(31))]
    assert missing([*there, Range(midnight(30), midnight(37))], NOW, NOW, DAY) == []


def pairs(days: list[int]) -> list[Range]:
    """Ranges from the first of these days to the second, from the third to the fourth, and so on."""
    return [Range(midnight(a), midnight(b)) for a, b in zip(days[::2], days[1::2], strict=False)]


ranges = st.lists(st.integers(-40, 40), max_size=12, unique=True).map(sorted).map(pairs)


@given(ranges, st.integers(-60, 60), st.integers(0, 30), st.sampled_from([1, 7, 30]))
def test_whatever_is_there_the_times_are_covered_once(there: list[Range], day: int, back: int, width: int):
    now = midnight(day) + timedelta(hours=5)
    made = missing(there, now - back * DAY, now, width * DAY)
    every = sorted([*there, *made])
    assert all(before.end <= after.start for before, after in itertools.pairwise(every))
    assert all(each.start < each.end <= each.start + width * DAY for each in made)
    covered = [each for each in every if each.end > now - back * DAY]
    first = next(number for number, each in enumerate(covered) if each.end > now)
    assert covered[0].start <= now - back * DAY and covered[first].start <= now
    assert all(before.end == after.start for before, after in itertools.pairwise(covered[: first + 2]))
    assert not missing(every, now - back * DAY, now, width * DAY)


def test_a_partition_is_outlived_when_all_of_it_is():
    there = [partition("sessions", Range(midnight(day), midnight(day + 7))) for day in (9, 2, 16)]
    assert [each.range.start for each in outlived(there, midnight(16))] == [midnight(2), midnight(9)]
    assert outlived(there, midnight(16) - timedelta(seconds=1)) == [there[1]]
