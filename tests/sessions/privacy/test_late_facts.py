"""Facts that reach the log while a user is erased, or afterwards, and erasures that break off."""

from __future__ import annotations

import pytest

from proto.events import Closed, Opened, Refused, Subscribed
from services.sessions.privacy.log_nats import LogOfPerson
from services.sessions.privacy.person import Person
from services.sessions.store import StoreAway
from tests.sessions.database import execute
from tests.sessions.privacy.places import place
from tests.sessions.test_claims_postgres import END
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration


async def test_what_edges_tell_late_is_found_though_nothing_says_any_more_whose_it_is(
    services: Services, nats_server: NatsServer, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(services, nats_server, postgres) as it:
        await it.erase("ann")
        late = Refused(1_003, "publish", 103, connection="c1", channel="late of ann")
        await it.written(Subscribed(1_002, "c1", "late of ann"), late, Subscribed(1_002, "c2", "of bob"))
        assert await it.where("late of ann") == {"SESSIONS", "log_archive", "refusals"}
        again = it.erasure("ann")
        report = await again.search()
        assert (report.stores["log messages"], report.stores["refusals"]) == (1, 1)
        await again.erase()
        assert await it.where("late of ann") == set() and "subscriptions" in await it.where("of bob")
        assert not (await it.erasure("ann").search()).total

        dies = await it.searched("bob")
        await it.written(Closed(1_004, "c2", 1000, "late of bob"))
        with monkeypatch.context() as patched:
            patched.setattr(LogOfPerson, "search", _died)
            with pytest.raises(StoreAway):
                await dies.erase()
        assert await it.where("late of bob") == {"SESSIONS", "log_archive"}
        await it.erase("bob")
        assert await it.where("late of bob") == set()


async def _died(*arguments: object) -> None:
    """The search for what came in meanwhile, after `Erased` was folded."""
    raise StoreAway("it died")


async def test_facts_that_came_while_the_operator_was_asked_go_too(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    async with place(services, nats_server, postgres) as it:
        erasure = await it.searched("ann")
        await it.written(Closed(1_002, "c1", 1000, "late of ann"), Closed(1_003, "c2", 1000, "of bob"))
        await erasure.erase()
        assert await it.where("late of ann") == set()
        assert {"log_archive", "connections"} <= await it.where("of bob")


async def test_a_connection_that_was_opened_while_the_operator_was_asked_is_known_to_the_next_erasure(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    async with place(services, nats_server, postgres) as it:
        erasure = await it.searched("ann")
        await it.written(Opened(1_002, "c3", "ann"))
        await erasure.erase()
        await it.written(Closed(1_003, "c3", 1000, "late of ann"))
        assert await it.where("late of ann") == {"SESSIONS", "log_archive"}
        await it.erase("ann")
        assert await it.where("late of ann") == set()


async def test_an_erasure_that_a_rebuild_may_have_undone_does_not_end_as_done(
    services: Services, nats_server: NatsServer, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = LogOfPerson.append

    async def loses_its_claim(log: LogOfPerson, person: Person, at: int) -> int:
        await execute(postgres.url, END)
        return await append(log, person, at)

    async with place(services, nats_server, postgres) as it:
        erasure = await it.searched("ann")
        with monkeypatch.context() as patched:
            patched.setattr(LogOfPerson, "append", loses_its_claim)
            with pytest.raises(StoreAway):
                await erasure.erase()
        await it.written(Closed(1_003, "c1", 1000, "late of ann"))
        await it.erase("ann")
        assert await it.where("late of ann") == set()
