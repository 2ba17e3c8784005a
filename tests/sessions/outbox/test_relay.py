"""The relay on a real PostgreSQL, with a publisher that does what the test wants."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.instruments import Instruments
from services.sessions.outbox.relay import Relay
from services.sessions.outbox.rows import NotNow, Outcome, Published, Refused, Row
from services.sessions.outbox.table_postgres import MARKING, OutboxTable
from tests.sessions.database import execute
from tests.sessions.outbox.table import insert, insert_each, make_outbox, rows_of
from tests.support.eventually import eventually
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


class RecordingPublisher:
    """Answers as `answers` says, by channel; what is published is in `published`, as data by channel."""

    def __init__(self) -> None:
        self.available = True
        self.answers: dict[str, Callable[[Row], Outcome]] = {}
        self.held: set[str] = set()
        self.published: dict[str, list[str | None]] = defaultdict(list)
        self.tried: list[str] = []
        self.ages: list[float | None] = []

    async def publish(self, row: Row, key_age_s: float | None) -> Outcome:
        self.tried.append(row.channel)
        self.ages.append(key_age_s)
        while row.channel in self.held:
            await asyncio.sleep(0.001)
        answer = self.answers.get(row.channel)
        outcome = Published() if answer is None else answer(row)
        if isinstance(outcome, Published):
            self.published[row.channel].append(row.data)
        return outcome


@asynccontextmanager
async def relaying(
    url: str, publisher: RecordingPublisher, *, workers: int = 2, poll_s: float = 60.0
) -> AsyncIterator[tuple[Relay, Instruments]]:
    instruments = Instruments()
    async with Pool(url, workers + MARKING) as pool:
        relay = Relay(OutboxTable(pool, url), publisher, instruments, workers, poll_s)
        running = asyncio.create_task(relay.run())
        try:
            yield relay, instruments
        finally:
            running.cancel()
            await asyncio.wait([running])


def value(instruments: Instruments, name: str) -> float | None:
    return instruments.registry.get_sample_value(f"fairlead_sessions_outbox_{name}")


@pytest.fixture
async def url(postgres: Postgres) -> str:
    await make_outbox(postgres.url)
    return postgres.url


async def empty(url: str) -> None:
    assert await rows_of(url) == []


async def test_what_is_committed_is_published_at_once_in_the_order_of_its_channel(url: str):
    publisher = RecordingPublisher()
    await insert(url, "before", "0")
    async with relaying(url, publisher) as (relay, instruments):
        await eventually(lambda: publisher.published["before"] == ["0"])
        for number in range(5):  # nobody looks again within the minute: each commit is heard
            await insert(url, "a", str(2 * number), str(2 * number + 1))
            await eventually(lambda: len(publisher.published["a"]) == 2 * number + 2)  # noqa: B023
        assert publisher.published["a"] == [str(number) for number in range(10)]
        await eventually(lambda: empty(url))
        assert value(instruments, "published_total") == 11 == value(instruments, "seconds_count")
        assert relay.problem is None


async def test_a_channel_that_fails_waits_alone_and_keeps_its_order(url: str):
    publisher = RecordingPublisher()
    publisher.answers["down"] = lambda row: NotNow("internal server error (100)")
    await insert(url, "down", *map(str, range(100)))
    async with relaying(url, publisher) as (_, instruments):
        await eventually(lambda: publisher.tried.count("down") >= 2)
        await insert(url, "up", "1")
        await eventually(lambda: publisher.published["up"] == ["1"])
        assert publisher.published["down"] == [] and len(await rows_of(url)) >= 100
        del publisher.answers["down"]
        await eventually(lambda: empty(url))
        assert publisher.published["down"] == [str(number) for number in range(100)]
        assert (value(instruments, "retries_total") or 0) >= 2


@pytest.mark.parametrize("sent", [True, False])
async def test_a_row_that_may_have_been_published_is_tried_again_with_the_age_of_its_key(url: str, sent: bool):
    publisher = RecordingPublisher()
    again = NotNow("no edge", sent=False)
    answers: list[Outcome] = [NotNow("no answer", sent), Published(), NotNow("no answer"), again, Published()]
    publisher.answers["a"] = lambda row: answers.pop(0)
    await insert(url, "a", "1", "2")
    async with relaying(url, publisher):
        await eventually(lambda: empty(url))
    first, second, third, fourth, fifth = publisher.ages
    assert publisher.published["a"] == ["1", "2"] and answers == []
    assert first is None and (second is not None and second >= 0.2 if sent else second is None)
    assert third is None, "the row behind it was not sent before"
    assert fourth is not None and fifth is not None, "what was not sent again is in doubt still"


async def test_what_a_relay_leaves_in_the_middle_of_a_turn_is_in_doubt(url: str):
    killed, next_one = RecordingPublisher(), RecordingPublisher()
    killed.held.add("a")
    await insert(url, "a", "1", "2")
    async with relaying(url, killed):
        await eventually(lambda: killed.tried == ["a"])
    assert killed.ages == [None]
    async with relaying(url, next_one):
        await eventually(lambda: empty(url))
    assert len(next_one.ages) == 2 and None not in next_one.ages


async def test_a_row_that_is_refused_is_set_aside_and_the_next_ones_go_on(url: str, caplog: pytest.LogCaptureFixture):
    publisher = RecordingPublisher()
    publisher.answers["a"] = lambda row: Refused(107, "bad request (107)") if row.data == "2" else Published()
    await insert(url, "a", "1", "2", "3")
    async with relaying(url, publisher) as (_, instruments):
        await eventually(lambda: empty(url))
        await eventually(lambda: value(instruments, "set_aside_total") == 1)
    assert publisher.published["a"] == ["1", "3"]
    (aside,) = await rows_of(url, "fairlead_outbox_set_aside")
    assert (aside["data"], aside["code"], aside["reason"]) == ("2", 107, "bad request (107)")
    assert f"row {aside['id']} of the outbox cannot be published and is set aside: bad request (107)" in caplog.text


async def test_relays_share_the_work_and_keep_the_order(url: str):
    one, two = RecordingPublisher(), RecordingPublisher()
    channels = [f"c{number}" for number in range(40)]
    one.held = two.held = set(channels)
    async with relaying(url, one), relaying(url, two):
        for part in range(3):
            await insert_each(url, channels, *(str(5 * part + number) for number in range(5)))
        await eventually(lambda: one.tried and two.tried)
        one.held.clear()
        await eventually(lambda: empty(url))
    expected = [str(number) for number in range(15)]
    for channel in channels:
        found = one.published[channel] + two.published[channel]
        assert sorted(found, key=lambda text: int(text or "")) == expected
        assert one.published[channel] == sorted(one.published[channel], key=lambda text: int(text or ""))
    assert any(one.published.values()) and any(two.published.values())


async def test_a_relay_that_leaves_settles_what_it_has_published(url: str):
    publisher = RecordingPublisher()
    publisher.held.add("a")
    await insert(url, "a", "1", "2")
    async with relaying(url, publisher) as (relay, _):
        await eventually(lambda: publisher.tried == ["a"])
        leaving = asyncio.create_task(relay.leave(10))
        await asyncio.sleep(0)
        publisher.held.clear()
        await leaving
    assert publisher.published["a"] == ["1"]
    assert [row["data"] for row in await rows_of(url)] == ["2"]


async def test_nothing_is_taken_while_nats_is_away(url: str):
    publisher = RecordingPublisher()
    publisher.available = False
    await insert(url, "a", "1")
    async with relaying(url, publisher, poll_s=0.01) as (_, instruments):
        await eventually(lambda: (value(instruments, "oldest_seconds") or 0) > 0)
        assert publisher.tried == []
        publisher.available = True
        await eventually(lambda: empty(url))


async def test_it_says_what_it_lacks_and_goes_on_when_that_is_there(url: str, caplog: pytest.LogCaptureFixture):
    publisher = RecordingPublisher()
    await execute(url, "ALTER TABLE fairlead_outbox_set_aside RENAME TO other")
    async with relaying(url, publisher) as (relay, _):
        await eventually(lambda: "outbox install" in (relay.problem or ""))
        await insert(url, "a", "1")
        await execute(url, "ALTER TABLE other RENAME TO fairlead_outbox_set_aside")
        await eventually(lambda: empty(url))
        await eventually(lambda: relay.problem is None)
    assert "rows of the outbox cannot be published now, trying again" in caplog.text


async def test_postgres_may_be_away(url: str, postgres: Postgres):
    publisher = RecordingPublisher()
    await insert(url, "a", "1")
    async with relaying(url, publisher, poll_s=0.05) as (relay, instruments):
        await eventually(lambda: empty(url))
        await eventually(lambda: value(instruments, "oldest_seconds") == 0)
        postgres.stop()
        await eventually(lambda: "check that PostgreSQL runs at the address in outbox.url" in (relay.problem or ""))
        await eventually(lambda: (value(instruments, "oldest_seconds") or 0) > 0)
        postgres.start()
        await insert(url, "a", "2")
        await eventually(lambda: publisher.published["a"] == ["1", "2"])
        await eventually(lambda: relay.problem is None)
