"""Who was refused most, of many who were."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from services.chassis.postgres.pool import Pool
from services.sessions.queries import refusals_postgres
from services.sessions.queries.periods import Period
from services.sessions.queries.refusals_postgres import RefusalCounts, Refusals, RefusalsBy, RefusalsPage
from services.sessions.rows import Refusal
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = 86_400_000


CAME = "10.0.0.1", "websocket", "Firefox", "https://shop.example"


def refusal(user: str, minute: int, count: int = 1, reason: str = "no") -> Refusal:
    at = DAY + minute * 60_000
    return Refusal(at, "edge-1", "i1", "connect", 109, reason, "", user, "", "js", "5.8", *CAME, count)


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
        refusal("ann", 0, 40),
        refusal("bob", 1, 7),
        refusal("eve", 2, 7),
        refusal("ann", 3, 2),
        refusal("later", 10, 1000),
    )
    found = await ask(postgres)
    assert [(one.user, one.count, one.reason) for one in found.groups] == [
        ("ann", 42, "no"),
        ("eve", 7, "no"),
        ("bob", 7, "no"),
    ]
    assert not found.more
    monkeypatch.setattr(refusals_postgres, "MAX_READ", 3)
    newest = await ask(postgres)
    assert newest.more and [(one.user, one.count) for one in newest.groups] == [("eve", 7), ("bob", 7), ("ann", 2)]


async def test_of_one_user_only_theirs_are_counted_whichever_way(postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    await insert(
        postgres.url,
        refusal("ann", -1, 1000),
        refusal("ann", 0, 40),
        refusal("bob", 1, 7),
        replace(refusal("ann", 3, 2), action="publish", code=103),
        refusal("", 4, 9),
    )
    ways: tuple[RefusalsBy, ...] = ("user", "action", "code")
    async with Pool(postgres.url, 1) as pool:
        for by in ways:
            found = await RefusalCounts(pool).ask(PERIOD, by, "ann")
            assert (found.total, [one.count for one in found.groups], found.more) == (42, [40, 2], False), by
            assert [point.count for point in found.curve] == [40, 0, 0, 2, 0, 0, 0, 0, 0, 0]
            nobodys = await RefusalCounts(pool).ask(PERIOD, by, "")
            assert (nobodys.total, [one.count for one in nobodys.groups]) == (9, [9]), by
            assert (await RefusalCounts(pool).ask(PERIOD, by, "zoe")).groups == []
        monkeypatch.setattr(refusals_postgres, "MAX_READ", 1)
        for by in ways:
            newest = await RefusalCounts(pool).ask(PERIOD, by, "ann")
            assert (newest.total, [one.count for one in newest.groups], newest.more) == (2, [2], True), by


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


async def test_each_tells_how_the_client_came(postgres: Postgres):
    await insert(postgres.url, refusal("ann", 1))
    async with Pool(postgres.url, 1) as pool:
        (one,) = (await RefusalCounts(pool).ones(PERIOD, 9)).rows
    assert (one.address, one.transport, one.user_agent, one.origin) == CAME


async def paged(refusals: RefusalCounts, limit: int, user: str | None) -> str:
    """The reasons of all pages."""
    found, page = "", await refusals.ones(PERIOD, limit, user)
    while page.next is not None:
        assert len(page.rows) == limit
        found, page = found + reasons(page), await refusals.ones(PERIOD, limit, user, page.next)
    return found + reasons(page)


def reasons(page: RefusalsPage) -> str:
    return "".join(one.reason for one in page.rows)


async def test_what_was_refused_for_another_reason_is_a_group_of_its_own(postgres: Postgres):
    await insert(postgres.url, refusal("ann", 0, 3, "no token"), refusal("ann", 1, 2, "bad request"))
    assert [(one.reason, one.count) for one in (await ask(postgres)).groups] == [("no token", 3), ("bad request", 2)]


async def test_a_user_refused_several_channels_is_one_group_that_tells_how_many_and_the_last(postgres: Postgres):
    await insert(
        postgres.url,
        replace(refusal("bob", 1), channel="chat:#zed", address="192.0.2.1"),
        replace(refusal("bob", 3), channel="$chat:priv", address="192.0.2.2"),
        replace(refusal("bob", 2), channel="chat:#zed"),
        replace(refusal("bob", 4), channel="", address="192.0.2.3"),  # one that is too long for the log
    )
    (bob,) = (await ask(postgres)).groups
    assert (bob.channel, bob.channels, bob.address, bob.count) == ("$chat:priv", 2, "192.0.2.3", 4)


async def test_anonymous_clients_are_told_apart_from_those_of_whom_nobody_knows_who_they_are(postgres: Postgres):
    await insert(
        postgres.url,
        replace(refusal("", 0, 4), connection="c1", action="publish"),
        replace(refusal("", 1, 3), connection="c2"),  # a connect
        replace(refusal("", 2, 2), action="publish"),  # for others, which no edge wrote singly
        replace(refusal("", 3, 1), action="handshake"),
    )
    groups = (await ask(postgres)).groups
    assert [(one.action, one.anonymous, one.count) for one in groups] == [
        ("publish", True, 4),
        ("connect", False, 3),
        ("publish", False, 2),
        ("handshake", False, 1),
    ]
