"""Erasures that were asked for again while one of the same user runs: none of them is dropped."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from services.chassis.postgres.errors import StoreAway
from services.sessions.privacy.access import Stores
from services.sessions.privacy.jobs import MAX_RUNNING, Jobs, TooMany
from services.sessions.privacy.person import Person
from tests.support.eventually import eventually

ANN, BOB = Person("ann"), Person("bob")


class Away(AbstractAsyncContextManager[Stores]):
    """Stores that cannot be opened, which is found out when the test says so."""

    def __init__(self) -> None:
        self.opening = 0
        self.may_fail = asyncio.Event()

    def open(self) -> Away:
        return self

    async def __aenter__(self) -> Stores:
        self.opening += 1
        await self.may_fail.wait()
        self.opening -= 1
        raise StoreAway("PostgreSQL is away")

    async def __aexit__(self, *error: object) -> None: ...


async def test_who_asks_for_more_gets_an_erasure_of_his_own_that_waits_its_turn() -> None:
    away = Away()
    jobs = Jobs(away.open)
    dry, plain = jobs.start(ANN, True, False), jobs.start(ANN, False, False)
    ending = jobs.start(ANN, False, True)
    assert len({dry.id, plain.id, ending.id}) == 3 and (dry.dry_run, plain.dry_run) == (True, False)
    assert jobs.start(ANN, False, True) is ending and jobs.start(ANN, False, False) is plain, "asked for again"
    await eventually(lambda: away.opening == 1 and ending.step.startswith("waiting for the erasure"))
    assert jobs.start(BOB, False, False) is not plain
    await eventually(lambda: away.opening == 2)  # his does not wait for hers
    with pytest.raises(TooMany, match=f"{MAX_RUNNING} erasures"):
        jobs.start(Person("cid"), False, False)
    away.may_fail.set()
    await eventually(lambda: {dry.state, plain.state, ending.state} == {"failed"})
    assert ending.error == "PostgreSQL is away"
    assert jobs.start(ANN, False, True) is not ending, "that one has ended"
    await jobs.stop()
