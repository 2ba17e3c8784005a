"""The timeline of a session: bounded in facts, however few rows they are in."""

from __future__ import annotations

import pytest

from proto.events import Opened, SessionEvent, Subscribed, Unsubscribed
from services.chassis.postgres.pool import Pool
from services.sessions.queries import timeline_postgres
from services.sessions.queries.timeline_postgres import Timeline, Timelines
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_store import batch
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

COUNT = 201


@pytest.fixture
async def busy(postgres: Postgres) -> Postgres:
    """A client that subscribes and leaves again and again: few rows have all its facts."""
    facts: list[SessionEvent] = [Opened(at=1, connection="a", user="ann")]
    for at in range(2, COUNT, 2):
        facts.append(Subscribed(at=at, connection="a", channel="news"))
        facts.append(Unsubscribed(at=at + 1, connection="a", channel="news"))
    half = COUNT // 2
    async with Pool(postgres.url, 1) as pool:
        await PostgresStore(pool, 1000).commit(
            ORIGIN, Position("e", 2), [batch(1, *facts[:half]), batch(2, *facts[half:])]
        )
    return postgres


async def timeline(postgres: Postgres) -> Timeline:
    async with Pool(postgres.url, 1) as pool:
        found = await Timelines(pool).of("a")
    assert found is not None
    return found


def times(found: Timeline) -> list[int]:
    return [round(one.at.timestamp() * 1000) for one in found.facts]


async def test_all_facts_are_read_a_portion_of_rows_at_a_time(busy: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_postgres, "PORTION", 1)
    found = await timeline(busy)
    assert (times(found), found.truncated) == (list(range(1, COUNT + 1)), False)


async def test_the_earliest_facts_are_read_and_the_answer_says_that_there_are_more(
    busy: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_postgres, "MAX_FACTS", 150)
    found = await timeline(busy)
    assert (times(found), found.truncated) == (list(range(1, 151)), True)
    monkeypatch.setattr(timeline_postgres, "MAX_FACTS", COUNT)
    assert not (await timeline(busy)).truncated


async def test_the_size_of_facts_is_bounded_too(busy: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(len(memoryview(one.fact)) for one in (await timeline(busy)).facts)
    monkeypatch.setattr(timeline_postgres, "MAX_BYTES", size * 3 // 4)
    found = await timeline(busy)
    assert (times(found), found.truncated) == (list(range(1, COUNT // 2 + 1)), True)
