"""Reading ahead: in order, in portions, with their read sets, and nothing that was not asked for."""

from __future__ import annotations

import asyncio

import pytest

from proto.events import EventBatch, Opened
from services.sessions.entries import Entry
from services.sessions.log_nats import LogAway, LogPage
from services.sessions.read_ahead import MAX_EVENTS, ReadAhead
from services.sessions.read_set import read_set_of
from tests.support.eventually import eventually


def batch(number: int, events: int = 1) -> EventBatch:
    return EventBatch("edge-1", "i1", number, [Opened(at=1, connection=f"c{number}-{n}") for n in range(events)])


class FakeLog:
    """`width` batches in a stretch, `events` facts in each; the reads are in `asked`."""

    def __init__(self, last: int, width: int = 3, events: int = 1) -> None:
        self.last, self.width, self.events = last, width, events
        self.asked: list[int] = []
        self.away = False

    async def read(self, start: int) -> LogPage:
        self.asked.append(start)
        if self.away:
            raise LogAway("gone")
        upto = min(self.last, start + self.width - 1)
        entries = [Entry(number, b"", "i1", batch(number, self.events)) for number in range(start, upto + 1)]
        return LogPage(entries, upto, upto < self.last)


async def test_the_next_stretch_is_read_before_it_is_asked_for_and_comes_in_order():
    log = FakeLog(last=7)
    reader = ReadAhead(log, asyncio.Event())
    numbers: list[int] = []
    reading = await reader.read(1)
    await eventually(lambda: is_asked(log, [1, 4]))
    while True:
        numbers += [one.number for portion in reading.portions for one in portion.batches]
        if not reading.more:
            break
        reading = await reader.read(reading.upto + 1)
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    assert log.asked == [1, 4, 7]


async def is_asked(log: FakeLog, wanted: list[int]) -> None:
    assert log.asked == wanted


async def test_a_portion_is_bounded_and_knows_what_it_needs():
    log = FakeLog(last=5, width=5, events=MAX_EVENTS // 2)
    first, second, third = (await ReadAhead(log, asyncio.Event()).read(1)).portions
    assert [first.upto, second.upto, third.upto] == [2, 4, 5]
    for portion in (first, second, third):
        assert portion.read_set is not None
        assert portion.read_set.connections == read_set_of(portion.batches).connections
        assert len(portion.read_set.connections) == sum(len(one.events) for one in portion.batches)


async def test_portions_of_a_page_are_about_even():
    log = FakeLog(last=13, width=13, events=MAX_EVENTS // 10)
    first, second = (await ReadAhead(log, asyncio.Event()).read(1)).portions
    assert (len(first.batches), len(second.batches)) == (7, 6)


async def test_messages_without_facts_still_move_the_position_and_an_empty_log_does_not():
    class Rejecting(FakeLog):
        async def read(self, start: int) -> LogPage:
            return LogPage([Entry(4, b"rubbish", "i1", None)], 4, False)

    (portion,) = (await ReadAhead(Rejecting(4), asyncio.Event()).read(1)).portions
    assert (portion.upto, portion.batches) == (4, [])
    assert (await ReadAhead(FakeLog(last=0), asyncio.Event()).read(1)).portions == []


async def test_when_the_position_jumps_what_was_read_ahead_is_dropped():
    reader = ReadAhead(FakeLog(last=100), asyncio.Event())
    await reader.read(1)
    reading = await reader.read(50)
    assert [one.number for one in reading.portions[0].batches] == [50, 51, 52]
    await reader.close()


async def test_a_log_that_goes_away_while_reading_ahead_is_told_to_whoever_asks_next():
    log = FakeLog(last=100)
    reader = ReadAhead(log, asyncio.Event())
    await reader.read(1)
    log.away = True
    with pytest.raises(LogAway):
        await reader.read(4)
    await reader.close()


async def test_a_notice_before_a_read_is_in_it_and_one_meanwhile_is_kept():
    written = asyncio.Event()

    class Ringing(FakeLog):
        async def read(self, start: int) -> LogPage:
            stretch = await super().read(start)
            if start == 2:
                written.set()
            return stretch

    log = Ringing(last=2, width=2)
    written.set()
    await ReadAhead(log, written).read(1)
    assert not written.is_set()
    log.last = 3
    await ReadAhead(log, written).read(2)
    assert written.is_set()
