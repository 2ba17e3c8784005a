"""Who was refused most, of many who were."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries import refusals_postgres
from services.sessions.queries.periods import Period
from services.sessions.queries.refusals_postgres import RefusalCounts, Refusals, RefusalsPage
from services.sessions.rows import Refusal
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = 86_400_000


def refusal(user: str, minute: int, count: int = 1, reason: str = "") -> Refusal:
    return Refusal(
        DAY + minute * 60_000, "edge-1", "i1", "connect", 109, reason, "", user, "", "js", "5.8", "10.0.0.1", count
    )


PERIOD = Period(EPOCH + timedelta(days=1), EPOCH + timedelta(days=1, minutes=10))


async def ask(postgres: Postgres) -> Refusals:
    async with Pool(postgres.url, 1) as pool:
        return await RefusalCounts(pool).ask(PERIOD, "user")


async def test_the_greatest_group_comes_first_and_of_equals_the_last_one_that_was_refused(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    await insert(
        postgres.url,
        refusal("before", -1, 1000),
        refusal("ann", 0, 40, "first"),
        refusal("bob", 1, 7),
        refusal("eve", 2, 7),
        refusal("ann", 3, 2, "last"),
        refusal("later", 10, 1000),
    )
    found = await ask(postgres)
    assert [(one.user, one.count, one.reason) for one in found.groups] == [
        ("ann", 42, "last"),
        ("eve", 7, ""),
        ("bob", 7, ""),
    ]
    assert not found.more
    monkeypatch.setattr(refusals_postgres, "MAX_READ", 3)
    newest = await ask(postgres)
    assert newest.more and [(one.user, one.count) for one in newest.groups] == [("eve", 7), ("bob", 7), ("ann", 2)]


async def test_pages_have_every_refusal_once_also_of_one_millisecond(postgres: Postgres):
    users = ["ann", "bob", "eve", "ann", "bob", "ann"]
    rows = [
        refusal(user, minute, reason=str(n))
        for n, (user, minute) in enumerate(zip(users, [1, 1, 1, 1, 2, 3], strict=True))
    ]
    await insert(postgres.url, *rows)
    async with Pool(postgres.url, 1) as pool:
        for user, expected in ((None, "543210"), ("ann", "530"), ("bob", "41"), ("zoe", "")):
            for limit in (1, 2, 6):
                assert await paged(RefusalCounts(pool), limit, user) == expected


async def paged(refusals: RefusalCounts, limit: int, user: str | None) -> str:
    """The reasons of all pages."""
    found, page = "", await refusals.ones(PERIOD, limit, user)
    while page.next is not None:
        assert len(page.rows) == limit
        found, page = found + reasons(page), await refusals.ones(PERIOD, limit, user, page.next)
    return found + reasons(page)


def reasons(page: RefusalsPage) -> str:
    return "".join(one.reason for one in page.rows)
