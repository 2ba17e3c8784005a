"""What rows of others say of a user's own channel goes from the tables as it goes from the log."""

from __future__ import annotations

import pytest

from proto.events import Closed, EventBatch, Opened, Refused, SessionEvent, Subscribed, Unsubscribed, encode_batch
from proto.events_reading import read_message
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.channels_postgres import OwnChannels
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections
from services.sessions.projection import fold
from services.sessions.state import State
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_rows import stays_of, subscriptions_of
from tests.sessions.database import read_rows
from tests.sessions.privacy.stores import found_in_postgres
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

USER = 'x"#\\y'
OWN = f"own:#{USER}"
UNTIL = 5_000

BEFORE: list[list[SessionEvent]] = [
    [Subscribed(1_000, "c2", OWN, offset=1)],  # told before its opening
    [Opened(1_000, "c2", "bob"), Subscribed(1_001, "c2", "news"), Subscribed(1_002, "c2", OWN)],
    [Unsubscribed(1_003, "c2", OWN), Refused(1_004, "publish", 103, "c2", "c2", "bob", "news")],
    [Refused(1_005, "subscribe", 103, "", "c3", "eve", OWN), Refused(1_006, "subscribe", 103, "", "", "", f"#{USER}")],
    [Opened(1_007, "c4", "dan"), Closed(1_008, "c4", 1000)],
    [Subscribed(1_010, "c2", OWN), Closed(1_020, "c2", 1000, offsets={"news": 7, OWN: 9})],
    [Opened(1_030, "c5", "eve"), Subscribed(1_031, "c5", OWN), Closed(1_032, "c5", 1000, offsets={OWN: 9})],
]
LATER: list[SessionEvent] = [Opened(6_000, "c6", "bob"), Subscribed(6_001, "c6", OWN)]


def batches(*parts: list[SessionEvent]) -> list[EventBatch]:
    return [EventBatch("edge", "i", number, events) for number, events in enumerate(parts, 1)]


async def test_the_tables_are_what_a_fold_of_the_rewritten_log_has(postgres: Postgres) -> None:
    person = Person(USER)
    about = Connections(person, set())
    rewritten = []
    for batch in batches(*BEFORE):
        data = encode_batch(batch)
        left = about.rewritten(data)
        read = read_message(data if left is None or left.data is None else left.data).batch
        assert read is not None
        rewritten.append(read)
    async with Pool(postgres.url, 2) as pool:
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 9), batches(*BEFORE))
        assert {"refusals", "subscriptions", "timeline"} <= await found_in_postgres(postgres.url, person)
        own = OwnChannels(person)
        async with pool.database() as database, database.transaction():
            fresh = Connections(person, set())
            names = await own.names(database, fresh)
            assert set(names) == {OWN, f"#{USER}"} and await own.count(database, names) == 5
            await own.erase(database, names, UNTIL, fresh)
            assert await own.names(database, fresh) == [OWN], "only as a fact of another named it: nothing is left"
            assert await own.count(database, names) == 0
    assert await found_in_postgres(postgres.url, person) == set()
    there, afresh = await read_rows(postgres.url), fold(State(60_000), rewritten)
    for part in ("sessions", "connections", "timeline", "refusals", "channels"):
        assert getattr(there, part) == getattr(afresh, part), part
    assert subscriptions_of(there) == subscriptions_of(afresh)


async def test_what_came_after_the_erasure_stays(postgres: Postgres) -> None:
    person = Person(USER)
    async with Pool(postgres.url, 2) as pool:
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 9), batches(*BEFORE, LATER))
        async with pool.database() as database:
            own, about = OwnChannels(person), Connections(person, set())
            await own.erase(database, await own.names(database, about), UNTIL, about)
    there = await read_rows(postgres.url)
    assert [key for key in stays_of(there) if key[1] == OWN] == [("c6", OWN)]
    assert [fact for (name, _), entry in there.timeline.items() if name == "c6" for fact in entry.facts] == LATER
