"""What is loaded of subscriptions: those that are open, and others by their keys where a fact needs them."""

from __future__ import annotations

import asyncpg
import pytest

from proto.events import Closed, EdgeFound, EdgeLost, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed
from services.chassis.postgres.pool import Pool
from services.sessions import loading_postgres
from services.sessions.loading_postgres import OPEN_SUBSCRIPTIONS, load_living
from services.sessions.projection import fold
from services.sessions.resident import Resident
from services.sessions.rows import Connection, Session
from services.sessions.rows_postgres import moment
from services.sessions.state import State
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_rows import rows_of, stays_of
from tests.contract.session_store import batch
from tests.sessions.database import read_rows
from tests.sessions.plans import plan_of
from tests.sessions.rows_by_hand import insert
from tests.sessions.stories import WINDOW_MS
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

OPENED = 1_700_000_000_000

MANY_STAYS = """
INSERT INTO subscriptions SELECT 'c1', 'room:' || n % 100, opened_at, opened_at + make_interval(secs => n),
    CASE WHEN n < 10000 THEN opened_at + make_interval(secs => n + 1) END, NULL
FROM connections CROSS JOIN generate_series(1, 10001) AS n"""


async def test_a_restart_reads_what_is_open_of_a_client_that_was_in_many_channels(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    session = Session("c1", "ann", "", "js", "5.8", "edge-1", "i1", "c1", 1, OPENED, None)
    await insert(postgres.url, session, Connection("c1", "c1", "edge-1", "i1", OPENED))
    database = await asyncpg.connect(postgres.url)
    await database.execute(MANY_STAYS)
    await database.execute("ANALYZE")
    plan = await plan_of(database, OPEN_SUBSCRIPTIONS, ["c1"], moment(OPENED), moment(OPENED))
    await database.close()
    assert plan.rows == 2
    async with Pool(postgres.url, 1) as pool, pool.database() as reading:
        rows = Resident(WINDOW_MS)
        assert await load_living(reading, rows, 10)
        assert stays_of(rows) == [("c1", "room:0"), ("c1", "room:1")]
        monkeypatch.setattr(loading_postgres, "MAX_CHANNELS_EACH", 0.1)
        assert not await load_living(reading, Resident(WINDOW_MS), 10), "too many"


@pytest.mark.parametrize("max_resident", [0, 1_000], ids=["without memory", "with memory"])
async def test_facts_of_stays_that_memory_has_forgotten_change_what_a_fold_over_everything_would(
    postgres: Postgres, max_resident: int
):
    def there(at: int) -> SessionEvent:
        return Subscribed(at, "c1", "news")

    def left(at: int) -> SessionEvent:
        return Unsubscribed(at, "c1", "news")

    def others(name: str) -> list[list[SessionEvent]]:
        return [[Opened(OPENED + 1, f"{name}1")], [Opened(OPENED + 1, f"{name}2")]]

    steps: list[list[SessionEvent]] = [
        [Opened(OPENED, "c1", "ann"), there(OPENED + 1)],
        [left(OPENED + 5)],
        [there(OPENED + 9)],
        *others("d"),  # meanwhile it is stored and forgotten
        [there(OPENED + 1)],  # told again
        [there(OPENED + 1), left(OPENED + 5)],  # told again: the end is of what is open
        [there(OPENED + 10), Subscribed(OPENED + 10, "c1", "chat")],
        [EdgeLost(OPENED + 20, "i1")],
        *others("e"),
        [EdgeFound(OPENED + 21, "i1")],
        [Closed(OPENED + 30, "c1", 1000)],
        *others("f"),
        [left(OPENED + 29)],  # late
        *others("g"),
        [there(OPENED + 10), there(OPENED + 28)],  # the first is told again
    ]
    batches: list[EventBatch] = []
    async with Pool(postgres.url, 4) as pool:
        store = PostgresStore(pool, WINDOW_MS, max_resident=max_resident)
        for number, facts in enumerate(steps):
            batches.append(batch(number + 1, *facts))
            await store.commit(Position("e", number) if number else ORIGIN, Position("e", number + 1), batches[-1:])
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), batches))


@pytest.mark.parametrize("how", ["without memory", "restarted", "with memory"])
async def test_a_session_goes_on_with_the_connection_whose_edge_was_found_whatever_memory_has(
    postgres: Postgres, how: str
):
    hour = 3_600_000  # sessions as old as that are not loaded whole
    told = [
        batch(1, Opened(OPENED, "c1", "ann"), Subscribed(OPENED, "c1", "news")),
        batch(1, EdgeLost(OPENED + 100, "i1"), instance="w"),
        batch(1, Opened(OPENED + 120, "c2", "ann"), instance="i2"),
        batch(2, EdgeFound(OPENED + 200, "i1"), instance="w"),
        batch(1, Opened(OPENED + hour, "d1"), instance="i3"),
        batch(2, Closed(OPENED + hour, "c2", 1001), Opened(OPENED + hour + 10, "c3", "ann"), instance="i2"),
        batch(2, Closed(OPENED + hour + 5_000, "c1", 1000)),
    ]
    async with Pool(postgres.url, 4) as pool:
        store = PostgresStore(pool, WINDOW_MS)
        for number, one in enumerate(told):
            if how != "with memory":
                store = PostgresStore(pool, WINDOW_MS, max_resident=0 if how == "without memory" else 1_000)
            await store.commit(Position("e", number) if number else ORIGIN, Position("e", number + 1), [one])
    rows = await read_rows(postgres.url)
    assert rows_of(rows) == rows_of(fold(State(WINDOW_MS), told))
    assert {name: (one.connection, one.ended_at) for name, one in rows.sessions.items()} == {
        "c1": ("c1", OPENED + hour + 5_000),
        "c3": ("c3", None),
        "d1": ("d1", None),
    }
