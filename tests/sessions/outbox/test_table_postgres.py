"""The outbox in a real PostgreSQL: order, turns of several relays, what is set aside, what wakes a relay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.outbox.rows import MAX_CALL_BYTES, Refused, Row
from services.sessions.outbox.table_postgres import MARKING, ROWS_OF_A_SLOT, OutboxTable
from tests.sessions.database import execute
from tests.sessions.outbox.table import insert, insert_each, make_outbox, rows_of
from tests.support.eventually import eventually
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


@pytest.fixture
async def table(postgres: Postgres) -> AsyncIterator[OutboxTable]:
    await make_outbox(postgres.url)
    async with Pool(postgres.url, 4 + MARKING) as pool:
        yield OutboxTable(pool, postgres.url)


def data_of(rows: Sequence[Row]) -> list[tuple[str, str | None]]:
    return [(row.channel, row.data) for row in rows]


async def test_rows_come_in_their_order_and_are_gone_once_they_are_settled(table: OutboxTable, postgres: Postgres):
    await insert(postgres.url, "a", "1", '{"n": 2}')
    await insert(postgres.url, "a", "3")
    async with table.turn(()) as turn:
        assert data_of(turn.rows) == [("a", "1"), ("a", '{"n": 2}'), ("a", "3")]
        assert all(0 <= row.waited_s < 60 for row in turn.rows)
        await turn.settle(turn.rows[:2], [], [])
    async with table.turn(()) as turn:
        assert data_of(turn.rows) == [("a", "3")]
        await turn.settle(turn.rows, [], [])
    async with table.turn(()) as turn:
        assert turn.rows == ()


async def test_what_is_rolled_back_is_never_seen(table: OutboxTable, postgres: Postgres):
    database = await asyncpg.connect(postgres.url)
    try:
        transaction = database.transaction()
        await transaction.start()
        await database.execute("SELECT fairlead_publish('a', '1')")
        async with table.turn(()) as turn:
            assert turn.rows == (), "not before the commit"
        await transaction.rollback()
    finally:
        await database.close()
    async with table.turn(()) as turn:
        assert turn.rows == ()


async def test_a_channel_is_in_one_turn_at_a_time_and_one_that_waits_in_none(table: OutboxTable, postgres: Postgres):
    channels = [f"c{number}" for number in range(200)]
    await insert_each(postgres.url, channels, "1", "2")
    async with table.turn(()) as one, table.turn(()) as two, table.turn(()) as three:
        seen = [{row.channel for row in turn.rows} for turn in (one, two, three)]
        assert all(seen), "each has some"
        assert sum(map(len, seen)) == len(set.union(*seen)), "and no two the same"
    async with table.turn(channels[1:]) as turn:
        assert data_of(turn.rows) == [("c0", "1"), ("c0", "2")]


async def test_a_turn_that_fails_changes_nothing_but_that_its_rows_were_tried(table: OutboxTable, postgres: Postgres):
    await insert(postgres.url, "a", "1", "2")
    with contextlib.suppress(ZeroDivisionError):
        async with table.turn(()) as turn:
            assert [row.tried_s for row in turn.rows] == [None, None]
            await turn.settle(turn.rows, [], [])
            raise ZeroDivisionError
    first = [row["tried_at"] for row in await rows_of(postgres.url)]
    async with table.turn(()) as turn:
        assert data_of(turn.rows) == [("a", "1"), ("a", "2")]
        assert all(0 <= (row.tried_s or -1) < 60 for row in turn.rows)
        await turn.settle([], [], turn.rows[1:])
    assert [row["tried_at"] for row in await rows_of(postgres.url)] == [first[0], None], "the first time counts"


async def test_a_relay_that_is_frozen_in_a_turn_loses_it(postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.sessions.outbox.table_postgres._FROZEN_S", 0.05)
    await make_outbox(postgres.url)
    await insert(postgres.url, "a", "1")
    async with Pool(postgres.url, 4 + MARKING) as pool:
        table = OutboxTable(pool, postgres.url)
        with pytest.raises(StoreAway):
            async with table.turn(()) as frozen:

                async def another() -> None:
                    async with table.turn(()) as turn:
                        assert data_of(turn.rows) == [("a", "1")]
                        await turn.settle(turn.rows, [], [])

                await eventually(another)
                await frozen.settle(frozen.rows, [], [])
    assert await rows_of(postgres.url) == []


async def test_a_turn_has_a_bounded_part_of_each_slot_and_of_what_is_large(table: OutboxTable, postgres: Postgres):
    await insert(postgres.url, "many", *map(str, range(ROWS_OF_A_SLOT + 5)))
    large = f'"{"x" * 600_000}"'
    await insert(postgres.url, "large", *[large] * 12, f'"{"x" * MAX_CALL_BYTES}"')
    async with table.turn(["large"]) as turn:
        assert len(turn.rows) == ROWS_OF_A_SLOT
    async with table.turn(["many"]) as turn:
        assert len(turn.rows) == 7, "4 MiB, and the one that goes past it"
        await turn.settle(turn.rows, [], [])
    async with table.turn(["many"]) as turn:
        assert [len(row.data or "") for row in turn.rows] == [600_002] * 5 + [0]


async def test_what_cannot_be_published_is_set_aside_with_its_reason(table: OutboxTable, postgres: Postgres):
    await insert(postgres.url, "a", "1", "2")
    await execute(
        postgres.url,
        """INSERT INTO fairlead_outbox (channel, data_binary, tags) VALUES ('a', '\\x00ff', '{"k": "v"}')""",
    )
    before = await rows_of(postgres.url)
    async with table.turn(()) as turn:
        assert (turn.rows[2].binary, turn.rows[2].tags) == (b"\x00\xff", '{"k": "v"}')
        await turn.settle(turn.rows[:1], [(row, Refused(102, "unknown channel (102)")) for row in turn.rows[1:]], [])
    aside = await rows_of(postgres.url, "fairlead_outbox_set_aside")
    assert [(one["code"], one["reason"]) for one in aside] == [(102, "unknown channel (102)")] * 2
    kept = ("id", "message_id", "channel", "data", "data_binary", "tags", "created_at")
    assert [[one[name] for name in kept] for one in aside] == [[one[name] for name in kept] for one in before[1:]]
    assert await rows_of(postgres.url) == []


@pytest.mark.parametrize(
    "values",
    [
        "('a', NULL, NULL, NULL)",
        "('a', '1', '\\x00', NULL)",
        "('', '1', NULL, NULL)",
        "(repeat('a', 321), '1', NULL, NULL)",
        "('a', '1', NULL, '[]')",
        "('a', '{', NULL, NULL)",
    ],
)
async def test_a_row_that_makes_no_sense_fails_in_the_application_s_transaction(
    values: str, table: OutboxTable, postgres: Postgres
):
    with pytest.raises((asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)):
        await execute(postgres.url, f"INSERT INTO fairlead_outbox (channel, data, data_binary, tags) VALUES {values}")


async def test_a_commit_is_heard_and_the_age_of_the_oldest_row_is_told(table: OutboxTable, postgres: Postgres):
    heard: list[str] = []
    waited: list[float] = []
    watch = asyncio.create_task(table.watch(lambda: heard.append("commit"), waited.append, 0.01))
    try:
        await eventually(lambda: waited)
        assert waited[0] == 0.0
        await insert(postgres.url, "a", "1", "2", "3")
        await eventually(lambda: heard == ["commit"])
        await eventually(lambda: waited[-1] > 0)
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def test_a_database_without_an_outbox_says_what_to_do(postgres: Postgres):
    async with Pool(postgres.url, 1) as pool:
        with pytest.raises(StoreAway, match="outbox install"):
            await OutboxTable(pool, postgres.url).check()
    await make_outbox(postgres.url)
    await make_outbox(postgres.url)  # again: no change
    async with Pool(postgres.url, 1) as pool:
        await OutboxTable(pool, postgres.url).check()
