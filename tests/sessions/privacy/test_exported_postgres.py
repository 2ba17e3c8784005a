"""What a user gets of the rows about them."""

from __future__ import annotations

import json

import pytest

from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.exported_postgres import ExportedRows
from services.sessions.privacy.person import Person
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

STORY: list[SessionEvent] = [
    Opened(1_000, "c1", "ann"),
    Opened(1_000, "c9", "bob"),
    Subscribed(2_000, "c1", "news"),
    Subscribed(2_001, "c1", "chat"),
    Subscribed(2_002, "c9", "chat"),
    Unsubscribed(3_000, "c1", "news"),
    Closed(4_000, "c1", 1001),
    Opened(5_000, "c2", "ann"),
    Subscribed(6_000, "c2", "chat"),
]


async def test_a_subscription_ended_by_itself_or_with_its_connection(postgres: Postgres) -> None:
    async with Pool(postgres.url, 2) as pool:
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), [EventBatch("edge", "i", 1, STORY)])
        rows = [json.loads(row) async for store, row in ExportedRows(pool, Person("ann")).all() if store == STORE]
    assert [(row["connection"], row["channel"], row["until"]) for row in rows] == [
        ("c1", "news", "1970-01-01T00:00:03+00:00"),
        ("c1", "chat", "1970-01-01T00:00:04+00:00"),
        ("c2", "chat", None),
    ]


STORE = "subscriptions"
