"""By how long sessions lasted: every session that was there at a moment is of one class."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.lengths import LENGTHS, there_at
from tests.sessions.queries.test_presence_postgres import THEN, stay
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

_BOUNDS = [timedelta(hours=1), timedelta(days=1), timedelta(days=8)]
_JUST = timedelta(milliseconds=1)
_LASTED = [bound + more for bound in _BOUNDS for more in (-_JUST, timedelta(0), _JUST)]


def _milliseconds(time: timedelta) -> int:
    return time // _JUST


async def test_each_length_is_of_one_class_and_there_as_long_as_it_lasted(postgres: Postgres):
    began = {str(lasted): -_milliseconds(lasted) + 1 for lasted in _LASTED}
    rows = [row for name, at in began.items() for row in stay(name, at, 1)]
    gone = [row for name, at in began.items() for row in stay(f"gone {name}", at - 1, 0)]
    await insert(postgres.url, *rows, *gone, *stay("open", -1, None))
    at: datetime = EPOCH + timedelta(milliseconds=THEN)
    async with Pool(postgres.url, 1) as pool, pool.database() as database:
        classes = [
            {row["id"] for row in await database.fetch(f"SELECT id FROM sessions WHERE {length.condition}")}
            for length in LENGTHS
        ]
        there = [
            row["id"]
            for condition in there_at("$1")
            for row in await database.fetch(f"SELECT id FROM sessions WHERE opened_at <= $1 AND {condition}", at)
        ]
    assert [len(one) for one in classes] == [4, 6, 6, 2]
    assert sum(map(len, classes)) == len(set().union(*classes)) == 2 * len(_LASTED)
    assert sorted(there) == sorted([*began, "open"])
