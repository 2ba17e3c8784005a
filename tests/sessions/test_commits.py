"""Commits of which two have begun at a time, in PostgreSQL: whatever fails meanwhile, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

import pytest

from proto.events import encode_batch
from services.chassis.postgres.pool import Database, Pool
from services.sessions import store_postgres
from services.sessions.commits import Commits, Step, commit_portion
from services.sessions.entries import Entry
from services.sessions.projection import fold
from services.sessions.read_ahead import Portion
from services.sessions.state import State
from services.sessions.store import Outcome, Position, PositionConflict, StoreAway
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_rows import rows_of
from tests.sessions.database import read_archive, read_letters, read_rows
from tests.sessions.poison import poison, poisoned
from tests.sessions.stories import WINDOW_MS, long_story
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


def portions_of(entries: Sequence[Entry], chance: random.Random) -> list[Portion]:
    """The messages in portions of a few each."""
    found, at = [], 0
    while at < len(entries):
        part = list(entries[at : at + chance.randint(1, 4)])
        at += len(part)
        found.append(Portion(part[-1].sequence, part, 0, None))
    return found


async def follow(commits: Commits, portions: Sequence[Portion]) -> None:
    """What the projector does."""
    for portion in portions:
        commits.begin(portion)
        if commits.are_many:
            await commits.finish()
    while not commits.are_done:
        await commits.finish()


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_refused_is_put_aside_and_what_was_folded_upon_it_is_folded_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    made = poisoned(long_story(seed), chance)
    poison(monkeypatch)
    steps: list[Step] = []
    async with Pool(postgres.url, 4) as pool:
        commits = Commits(PostgresStore(pool, WINDOW_MS), Position("", 0), steps.append, archiving=True)
        await follow(commits, portions_of(made.entries, chance))
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), made.good))
    assert [each.sequence for each in await read_letters(postgres.url)] == made.refused
    assert [each.sequence for step in steps for each in step.letters] == made.refused
    positions = [step.position.sequence for step in steps]
    assert positions == sorted(set(positions)) and positions[-1] == len(made.entries) == commits.begun
    assert len(await read_archive(postgres.url)) == len(made.entries)


@pytest.mark.parametrize("what", ["the store fails", "the answer is lost", "it is cancelled", "another one commits"])
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_meanwhile_the_next_one_goes_on_where_the_rows_are(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, what: str, seed: int
) -> None:
    chance = random.Random(seed)
    batches = long_story(seed)
    entries = [Entry(number, encode_batch(one), one.instance, one) for number, one in enumerate(batches, 1)]
    happened = 0
    due = chance.randint(1, 4)  # commits until it happens
    running: asyncio.Task[None] | None = None
    write = store_postgres._write

    def is_due() -> bool:
        nonlocal due, happened
        due -= 1
        if due >= 0:
            return False
        due, happened = chance.randint(1, 4), happened + 1
        return True

    async def writes(database: Database, plan: store_postgres._Plan) -> None:
        await write(database, plan)
        if what == "the store fails" and is_due():
            raise ConnectionResetError("the connection is cut")
        if what == "it is cancelled" and is_due():
            assert running is not None
            running.cancel()

    class Store(PostgresStore):
        async def commit(self, *given: Any, **more: Any) -> Outcome:
            if what == "another one commits" and is_due():
                await another_commits()
            outcome = await super().commit(*given, **more)
            if what == "the answer is lost" and is_due():
                raise StoreAway("the connection is cut")
            return outcome

    async def another_commits() -> None:
        at = await other.position()
        with contextlib.suppress(PositionConflict):
            await commit_portion(other, at, portions_of(entries[at.sequence :], chance)[0], lambda _: None)

    monkeypatch.setattr(store_postgres, "_write", writes)
    async with Pool(postgres.url, 4) as pool, Pool(postgres.url, 2) as other_pool:
        store, other = Store(pool, WINDOW_MS), PostgresStore(other_pool, WINDOW_MS)
        while (at := await store.position()).sequence < len(entries):
            commits = Commits(store, at, lambda _: None, archiving=False)
            running = asyncio.create_task(follow(commits, portions_of(entries[at.sequence :], chance)))
            await asyncio.wait([running])
            await commits.close()
            if not running.cancelled() and (error := running.exception()) is not None:
                assert isinstance(error, StoreAway | PositionConflict), error
    assert happened >= 2
    assert rows_of(await read_rows(postgres.url)) == rows_of(fold(State(WINDOW_MS), batches))
