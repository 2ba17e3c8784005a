"""The archive of several logs: the log was made anew while clients were connected."""

from __future__ import annotations

import pytest

from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed, encode_batch
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.archive_postgres import Archive, Place
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import unwatched
from services.sessions.privacy.rewriting import Connections
from tests.sessions.database import execute, read_archive
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_facts_in_an_epoch_after_that_of_the_opening_are_erased_whatever_its_letters(postgres: Postgres) -> None:
    await _archive(postgres, "zz", 7, "1 hour", Opened(1_000, "c1", "ann"), Opened(1_001, "c2", "bob"))
    await _archive(postgres, "aa", 1, "1 minute", Subscribed(2_000, "c1", "news"), Subscribed(2_001, "c2", "news"))
    await _archive(postgres, "aa", 2, "1 second", Closed(3_000, "c1", 1000))
    async with Pool(postgres.url, 1) as pool:
        archive, about = Archive(pool, unwatched), Connections(Person("ann"), set())
        assert [one.place async for one in archive.messages()] == [Place("zz", 7), Place("aa", 1), Place("aa", 2)]
        places = await archive.search(about)
        assert await archive.erase(about, places) == 3
    left = await read_archive(postgres.url)
    assert not [place for place, data in left.items() if b'"c1"' in data or b'"ann"' in data]
    assert b'"c2"' in left["zz", 7] and b'"c2"' in left["aa", 1]


async def _archive(postgres: Postgres, epoch: str, sequence: int, ago: str, *facts: SessionEvent) -> None:
    data = encode_batch(EventBatch("edge", "i", sequence, list(facts))).hex()
    await execute(
        postgres.url,
        "INSERT INTO log_archive (epoch, sequence, stored_at, writer, data)"
        f" VALUES ('{epoch}', {sequence}, now() - interval '{ago}', 'i', '\\x{data}')",
    )
