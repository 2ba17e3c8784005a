from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proto import events, subjects
from proto.trace_context import TraceContext
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_making import stream_config
from services.chassis.nats.stream_reads import read_stream
from services.edge import session_log_nats
from services.edge.session_log_nats import NatsSessionLog
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


@asynccontextmanager
async def session_log(url: str) -> AsyncIterator[tuple[NatsSessionLog, NatsLink]]:
    link = NatsLink(NatsSettings(url=url), "test")
    await link.open()
    made = NatsSessionLog(link, "edge-1", "instance-1")
    await made.start()
    running = asyncio.create_task(made.run())
    try:
        yield made, link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await link.close()


def opened(number: int) -> events.Opened:
    return events.Opened(at=number, connection=f"c{number}", user="alice")


async def stored(link: NatsLink) -> list[events.EventBatch]:
    messages, more = await read_stream(link, subjects.SESSIONS_STREAM, 1, 1000)
    assert not more
    return [events.decode_batch(message.data) for message in messages]


async def test_facts_are_stored_in_order_in_few_numbered_batches(nats_server):
    async with session_log(nats_server.url) as (log, link):
        for i in range(1234):
            log.record(opened(i))
        assert await log.flush(10)
        batches = await stored(link)
        assert [fact.at for batch in batches for fact in batch.events] == list(range(1234))
        assert [batch.number for batch in batches] == list(range(1, len(batches) + 1)) and len(batches) <= 5
        assert {(batch.edge, batch.instance) for batch in batches} == {("edge-1", "instance-1")}
        assert log.stored == 1234 and log.waiting == 0


async def test_a_batch_names_the_spans_of_its_own_facts(nats_server, monkeypatch):
    monkeypatch.setattr(session_log_nats, "MAX_BATCH", 10)
    async with session_log(nats_server.url) as (log, link):
        for number in range(30):
            traced = number in (3, 4, 25)
            log.record(opened(number), TraceContext(f"{number:032x}", f"{number:016x}") if traced else None)
        assert await log.flush(10)
        named = [[int(one.span_id, 16) for one in batch.contexts] for batch in await stored(link)]
    assert [one for batch in named for one in batch] == [3, 4, 25] and named[-1] == [25]


async def test_facts_recorded_while_nats_is_away_follow_later_once_each_in_order(nats_server):
    async with session_log(nats_server.url) as (log, link):
        log.record(opened(0))
        assert await log.flush(10)
        nats_server.kill9()
        await eventually(lambda: not link.is_connected)
        assert (log.oldest_at, log.waiting) == (None, 0)
        for i in range(1, 700):
            log.record(opened(i))
        assert not await log.flush(0.05)
        assert (log.oldest_at, log.waiting) == (1, 699), "with the batch that is being sent"
        nats_server.start()
        assert await log.flush(20)
        assert [fact.at for batch in await stored(link) for fact in batch.events] == list(range(700))


async def test_nothing_is_doubled_when_an_answer_is_lost(nats_server, monkeypatch):
    async with session_log(nats_server.url) as (log, link):
        request = link.request
        lost: list[object] = []

        async def answer_lost(*args, **kwargs):
            answer = await request(*args, **kwargs)
            if len(lost) < 2:
                lost.append(answer)
                raise NatsAway("the answer was lost")
            return answer

        monkeypatch.setattr(link, "request", answer_lost)
        log.record(opened(1))
        assert await log.flush(10)
        assert len(lost) == 2
        assert [fact.at for batch in await stored(link) for fact in batch.events] == [1]


async def test_waiting_facts_are_bounded_and_dropped_ones_are_counted(nats_server, monkeypatch):
    monkeypatch.setattr(session_log_nats, "MAX_WAITING", 100)
    async with session_log(nats_server.url) as (log, link):
        nats_server.kill9()
        await eventually(lambda: not link.is_connected)
        for i in range(150):
            log.record(opened(i))
        assert log.waiting == 100 and log.dropped == 50
        nats_server.start()
        assert await log.flush(20)
        assert [fact.at for batch in await stored(link) for fact in batch.events] == list(range(50, 150))


async def test_facts_of_any_size_are_stored_and_nobody_elses_are_dropped(nats_server):
    async with session_log(nats_server.url) as (log, link):
        for i in range(120):
            log.record(events.Opened(at=i, connection=f"c{i}", user="u" * (30_000 if i % 2 else 5)))
        assert await log.flush(10)
        assert [fact.at for batch in await stored(link) for fact in batch.events] == list(range(120))
        assert log.dropped == 0


async def test_a_nats_that_takes_less_gets_smaller_batches_and_never_holds_up_the_log(nats_server, caplog):
    async with session_log(nats_server.url) as (log, link):
        config = stream_config(subjects.SESSIONS_STREAM, subjects.SESSION_EVENTS_ALL, 3600, 120)
        await link.stream_manager().update_stream(config, max_msg_size=4_000)
        trace = TraceContext("1" * 32, "2" * 16)
        for i in range(200):
            log.record(events.Opened(at=i, connection=f"c{i}", user="u" * (5_000 if i == 70 else 5)), trace)
        assert await log.flush(10)
        batches = await stored(link)
    assert [fact.at for batch in batches for fact in batch.events] == [i for i in range(200) if i != 70]
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert (log.stored, log.dropped, log.waiting) == (199, 1, 0)
    assert "larger than NATS takes" in caplog.text


async def test_it_says_why_events_wait_and_that_they_are_stored_again(nats_server, monkeypatch, caplog):
    caplog.set_level("INFO")
    async with session_log(nats_server.url) as (log, link):
        request, silent = link.request, True

        async def silence(*args, **kwargs):
            if silent:
                raise NatsAway("no answer in time", "timeout")
            return await request(*args, **kwargs)

        monkeypatch.setattr(link, "request", silence)
        assert log.problem is None
        log.record(opened(1))
        await eventually(lambda: log.problem is not None)
        problem = str(log.problem)
        assert "SESSIONS" in problem and "wait" in problem
        assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [problem]
        silent = False
        assert await log.flush(10)
        assert log.problem is None
        assert "stored again" in caplog.text


async def test_a_stream_that_was_deleted_is_made_again(nats_server):
    async with session_log(nats_server.url) as (log, link):
        await link.stream_manager().delete_stream(subjects.SESSIONS_STREAM)
        log.record(opened(1))
        assert await log.flush(10)
        assert [fact.at for batch in await stored(link) for fact in batch.events] == [1]
