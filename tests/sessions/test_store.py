"""The store's contract, held by the one in memory and by the one in PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed
from services.sessions.pool_postgres import Pool
from services.sessions.projection import fold
from services.sessions.read_set import read_set_of
from services.sessions.rows import State
from services.sessions.schema_postgres import migrate
from services.sessions.store import ORIGIN, Position, PositionConflict, Store, StoreAway
from services.sessions.store_memory import MemoryStore
from services.sessions.store_postgres import PostgresStore
from tests.sessions.database import read_rows
from tests.sessions.stories import WINDOW_MS, long_story, split
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


def batch(number: int, *events: SessionEvent, instance: str = "i1") -> EventBatch:
    return EventBatch(edge="edge-1", instance=instance, number=number, events=list(events))


@pytest.fixture
async def postgres_store(postgres: Postgres) -> AsyncIterator[PostgresStore]:
    await migrate(postgres.url)
    async with Pool(postgres.url, 4) as pool:
        yield PostgresStore(pool, WINDOW_MS)


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore(WINDOW_MS)
    made: PostgresStore = request.getfixturevalue("postgres_store")
    return made


async def test_the_position_moves_with_the_rows_and_only_from_where_it_is(store: Store):
    assert await store.position() == ORIGIN
    first = Position("epoch", 3)
    outcome = await store.commit(ORIGIN, first, [batch(1, Opened(at=1, connection="c1", user="ann"))])
    assert (outcome.events, outcome.duplicates) == (1, 0)
    assert await store.position() == first
    with pytest.raises(PositionConflict) as moved:
        await store.commit(ORIGIN, Position("epoch", 9), [batch(2, Closed(at=2, connection="c1", code=1000))])
    assert moved.value.actual == first
    assert await store.open_instances() == {"i1"}


async def test_a_batch_that_comes_again_is_left_out(store: Store):
    opened, closed = batch(1, Opened(at=1, connection="c1")), batch(2, Closed(at=2, connection="c1", code=1000))
    at = Position("epoch", 2)
    assert (await store.commit(ORIGIN, at, [opened, closed, closed])).duplicates == 1
    again = Position("other", 4)
    other = batch(1, Opened(at=5, connection="c2"), instance="i2")
    assert await store.commit(at, again, [opened, closed, other]) == (1, 2, 0, 0, 0)
    assert await store.last_number("i1") == 2
    assert await store.writers("i") == {"i1": 2, "i2": 1}
    assert await store.open_instances() == {"i2"}


async def test_two_writers_at_once_apply_a_batch_once(postgres_store: PostgresStore):
    upto = Position("epoch", 1)
    one = batch(1, *(Opened(at=n, connection=f"c{n}", user="ann") for n in range(500)))
    tries = await asyncio.gather(
        *(postgres_store.commit(ORIGIN, upto, [one]) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in tries) == ["Outcome", *["PositionConflict"] * 3]


class CrashingStore(PostgresStore):
    async def _move(self, *_: object) -> None:
        raise ConnectionResetError("the rows are written, the position is not")


async def test_a_crash_between_rows_and_position_leaves_neither(postgres: Postgres, postgres_store: PostgresStore):
    one = [batch(1, Opened(at=1, connection="c1", user="ann"))]
    async with Pool(postgres.url, 1) as pool:
        with pytest.raises(StoreAway):
            await CrashingStore(pool, WINDOW_MS).commit(ORIGIN, Position("e", 1), one)
    assert await postgres_store.position() == ORIGIN
    assert not (await read_rows(postgres.url)).sessions
    assert (await postgres_store.commit(ORIGIN, Position("e", 1), one)).events == 1


async def test_a_row_that_somebody_put_in_by_hand_is_overwritten(postgres: Postgres, postgres_store: PostgresStore):
    opened = batch(1, Opened(at=1, connection="c1", user="ann"), Subscribed(at=2, connection="c1", channel="news"))
    database = await asyncpg.connect(postgres.url)
    await database.execute("INSERT INTO subscriptions (connection, channel, since) VALUES ('c1', 'news', 'epoch')")
    await database.close()
    assert (await postgres_store.commit(ORIGIN, Position("e", 1), [opened])).events == 2
    rows, wanted = await read_rows(postgres.url), fold(State(WINDOW_MS), [opened])
    assert (rows.connections, rows.subscriptions) == (wanted.connections, wanted.subscriptions)


async def test_postgres_that_is_away_is_said_to_be_away(postgres: Postgres, postgres_store: PostgresStore):
    await postgres_store.position()
    postgres.stop()
    with pytest.raises(StoreAway, match="PostgreSQL"):
        await postgres_store.position()
    postgres.start()
    assert await postgres_store.position() == ORIGIN


async def test_what_no_text_column_holds_is_stored_all_the_same(postgres: Postgres, postgres_store: PostgresStore):
    wild = "\0" + "\U0001f600" * 5_000
    events: list[SessionEvent] = [
        Opened(at=2**62, connection=wild, user=wild, session_key=wild),
        Closed(at=-5, connection=wild, code=9**9),
    ]
    await postgres_store.commit(ORIGIN, Position("e", 1), [batch(2**62, *events, instance=wild)])
    (session,) = (await read_rows(postgres.url)).sessions.values()
    assert session.user.startswith("\ufffd\U0001f600")


@pytest.mark.parametrize("seed", range(24))
async def test_postgres_agrees_with_the_fold_over_everything(
    postgres: Postgres, postgres_store: PostgresStore, seed: int
):
    batches = long_story(seed)
    chance = random.Random(seed)
    at = ORIGIN
    for stretch in split(batches, [chance.randint(0, 40) for _ in range(chance.choice([3, 10, 80]))]):
        upto = Position("epoch", at.sequence + len(stretch))
        # As the projector does it: before anybody knows which batches were applied already.
        again = batches[max(0, at.sequence - 3) : at.sequence]
        await postgres_store.commit(at, upto, [*again, *stretch], read_set_of([*again, *stretch]))
        at = upto
    kept, wanted = await read_rows(postgres.url), fold(State(WINDOW_MS), batches)
    assert wanted.resumed, "a story in which nobody comes back proves little"
    assert kept.sessions == wanted.sessions
    assert kept.connections == wanted.connections
    assert kept.subscriptions == wanted.subscriptions
