"""How facts are gathered, and how long the projector waits for what cannot be read or written. Their folding is tested
on real servers, in test_service.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from proto.events import EventBatch, Opened
from services.sessions import projector as module
from services.sessions.entries import Entry
from services.sessions.instruments import Instruments
from services.sessions.log_nats import LogNewer, LogPage, LogState
from services.sessions.projector import Projector
from services.sessions.store import ORIGIN, FactsRefused, Outcome, Position, StoreAway
from tests.support.eventually import eventually
from tests.support.store_memory import MemoryStore

RESUME_WINDOW_MS = 60_000


class LogDouble:
    """A session log in a list."""

    def __init__(self) -> None:
        self.batches: list[EventBatch] = []

    def write(self, facts: int) -> None:
        number = len(self.batches) + 1
        events = [Opened(at=1, connection=f"{number}.{i}", user="ann") for i in range(facts)]
        self.batches.append(EventBatch(edge="edge-1", instance="a", number=number, events=list(events)))

    async def read(self, start: int) -> LogPage:
        entries = [Entry(number, b"", "a", batch) for number, batch in enumerate(self.batches, 1)]
        return LogPage(entries[start - 1 :], len(self.batches), more=False)

    async def state(self) -> LogState:
        return LogState("epoch", 1, len(self.batches))


async def nothing() -> None:
    return None


@pytest.fixture
def log() -> LogDouble:
    return LogDouble()


@pytest.fixture
async def projector(log: LogDouble) -> AsyncIterator[Projector]:
    made = Projector(log, MemoryStore(RESUME_WINDOW_MS), nothing, Instruments())  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: made.problem is None)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that it waits for more facts after the first one. The waits take no time."""
    found: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        if seconds in (module._NOTICE_GRACE_S, module._GATHER_S):
            found.append(seconds)
            seconds = 0
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", recorded)
    return found


async def test_it_gathers_while_many_facts_come_and_follows_at_once_otherwise(
    waits: list[float], log: LogDouble, projector: Projector
) -> None:
    async def write(facts: int) -> None:
        log.write(facts)
        projector.notify()
        await eventually(lambda: projector.sequence == len(log.batches))

    for facts in (1, 100, 100, 1, 1):
        await write(facts)
    few, many = module._NOTICE_GRACE_S, module._GATHER_S
    assert waits == [few, few, many, many, few]
    assert projector.events_applied == 203


class PagedLog(LogDouble):
    """Each page has one batch."""

    async def read(self, start: int) -> LogPage:
        page = await super().read(start)
        return LogPage(page.entries[:1], min(start, page.upto), more=start < page.upto)


class TwoAtOnceStore(MemoryStore):
    """A commit ends when the one after it has begun, or none comes any more."""

    def __init__(self, last: int) -> None:
        super().__init__(RESUME_WINDOW_MS)
        self._last = last
        self._begun: dict[int, asyncio.Event] = {}

    async def commit(self, expected: Position, upto: Position, *given: Any, **more: Any) -> Outcome:
        self._begun.setdefault(upto.sequence, asyncio.Event()).set()
        if 0 < upto.sequence < self._last:
            await self._begun.setdefault(upto.sequence + 1, asyncio.Event()).wait()
        return await super().commit(expected, upto, *given, **more)


async def test_with_a_backlog_the_next_commit_begins_while_one_is_written_also_when_the_log_is_to_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.0)
    log = PagedLog()
    for _ in range(6):
        log.write(1)
    made = Projector(log, TwoAtOnceStore(6), nothing, Instruments())  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: made.sequence == 6)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("what", ["made anew", "rolled back"])
async def test_a_log_that_is_another_one_while_commits_are_under_way_is_noticed(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.0)

    class Another(PagedLog):
        epoch = "epoch"

        async def read(self, start: int) -> LogPage:
            if start == 4 and self.epoch == "epoch":
                if what == "made anew":
                    self.epoch = "another"
                del self.batches[2:]
            return await super().read(start)

        async def state(self) -> LogState:
            return LogState(self.epoch, 1, len(self.batches))

        async def renew(self) -> LogState:
            self.epoch = "renewed"
            return await self.state()

    log = Another()
    for _ in range(6):
        log.write(1)
    store, instruments = MemoryStore(RESUME_WINDOW_MS), Instruments()
    made = Projector(log, store, nothing, instruments)  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: instruments.registry.get_sample_value("fairlead_sessions_log_recreated_total") == 1)
    await eventually(lambda: made.sequence == 2)
    assert await store.position() == Position("another" if what == "made anew" else "renewed", 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class CutLog(LogDouble):
    """A log that has dropped what is before `first`, and of which somebody deleted the message `deleted`."""

    def __init__(self, first: int, deleted: int = 0) -> None:
        super().__init__()
        self.first, self.deleted = first, deleted

    async def read(self, start: int) -> LogPage:
        page = await super().read(start)
        entries = [one for one in page.entries if one.sequence >= self.first and one.sequence != self.deleted]
        return LogPage(entries, entries[-1].sequence if entries else start - 1, more=False)

    async def state(self) -> LogState:
        return LogState("epoch", self.first, len(self.batches))


@pytest.mark.parametrize(
    ("at", "first", "deleted", "lost"),
    [
        (2, 5, 0, "2, between 3 and 4"),
        (2, 9, 0, "6, between 3 and 8"),
        (2, 2, 4, "1, between 4 and 4"),
        (0, 1, 4, ""),
        (4, 5, 0, ""),
        (0, 5, 0, ""),
    ],
    ids=[
        "its beginning",
        "all that it had",
        "deleted before it was folded",
        "deleted before anybody followed",
        "all is folded",
        "nobody followed it",
    ],
)
async def test_messages_that_went_from_the_log_before_they_were_folded_are_reported_and_counted(
    caplog: pytest.LogCaptureFixture, at: int, first: int, deleted: int, lost: str
) -> None:
    log, store, instruments = CutLog(first, deleted), MemoryStore(RESUME_WINDOW_MS), Instruments()
    for _ in range(8):
        log.write(1)
    if at:
        await store.commit(ORIGIN, Position("epoch", at), log.batches[:at])
    made = Projector(log, store, nothing, instruments)  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: made.sequence == 8)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    counted = instruments.registry.get_sample_value("fairlead_sessions_overtaken_total")
    assert counted == (int(lost[0]) if lost else 0)
    assert f"that were not folded: {lost}." in caplog.text if lost else "lacks" not in caplog.text


class SlowStore(MemoryStore):
    """A store that takes so many facts within the time that a statement may take."""

    def __init__(self) -> None:
        super().__init__(RESUME_WINDOW_MS)
        self.taken: list[int] = []

    async def commit(
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], *more: Any, **named: Any
    ) -> Outcome:
        facts = sum(len(batch.events) for batch in batches)
        if facts > 1000:
            raise StoreAway("PostgreSQL does not answer in time")
        self.taken.append(facts)
        return await super().commit(expected, upto, batches, *more, **named)


async def test_a_store_that_is_too_slow_for_large_transactions_gets_smaller_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def at_once(seconds: float) -> None:
        await pause(0)

    pause = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", at_once)
    log = LogDouble()
    for _ in range(60):
        log.write(100)
    store = SlowStore()
    made = Projector(log, store, nothing, Instruments())  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: made.sequence == 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sum(store.taken) == 6000 and max(store.taken) > 500, store.taken


class NewerLog(LogDouble):
    """A log whose next message no reader of this version understands."""

    async def read(self, start: int) -> LogPage:
        raise LogNewer("message 1 of the session log has version 2: upgrade")


class ReadOnlyStore(MemoryStore):
    """A store that can be read."""

    async def commit(self, *_: object, **__: object) -> Outcome:
        raise StoreAway("read-only: name the primary")


class RefusingStore(MemoryStore):
    """A store whose table of positions somebody has given a constraint: no facts are to blame, nor is a dead letter."""

    async def commit(self, *_: object, **__: object) -> Outcome:
        raise FactsRefused("violates check constraint")


@pytest.mark.parametrize(
    ("log", "store", "because"),
    [
        (NewerLog(), MemoryStore(RESUME_WINDOW_MS), "version 2: upgrade"),
        (LogDouble(), ReadOnlyStore(RESUME_WINDOW_MS), "read-only: name the primary"),
        (LogDouble(), RefusingStore(RESUME_WINDOW_MS), "violates check constraint"),
    ],
    ids=["a newer log", "a store that is read-only", "a store that refuses a position"],
)
async def test_it_asks_ever_more_seldom_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log: LogDouble, store: MemoryStore, because: str
) -> None:
    made = Projector(log, store, nothing, Instruments())  # type: ignore[arg-type]  # a double
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        assert made.problem is not None and because in made.problem, "it is never said to follow in between"
        pauses.append(seconds)
        if len(pauses) == 8:
            raise asyncio.CancelledError
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", recorded)
    log.write(1)
    with pytest.raises(asyncio.CancelledError):
        await made.run()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert caplog.text.count(because) == 1


async def test_a_log_that_was_made_anew_is_said_once_however_often_the_store_refuses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log: LogDouble
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", (0.0, 0.0))
    store, refusals = MemoryStore(RESUME_WINDOW_MS), 5
    await store.commit(ORIGIN, Position("another epoch", 3), [])
    commit = store.commit

    async def refuses(*given: Any) -> Outcome:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise StoreAway("read-only: name the primary")
        return await commit(*given)

    monkeypatch.setattr(store, "commit", refuses)
    instruments = Instruments()
    made = Projector(log, store, nothing, instruments)  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: made.problem is None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert caplog.text.count("the session log was recreated") == 1
    assert instruments.registry.get_sample_value("fairlead_sessions_log_recreated_total") == 1


class WatchedStore(MemoryStore):
    """A store that notes when it is told that another process folds."""

    def __init__(self) -> None:
        super().__init__(RESUME_WINDOW_MS)
        self.released: list[Position] = []

    def release(self) -> None:
        self.released.append(self._position)


async def test_the_store_is_told_that_another_instance_folds_also_while_nothing_is_to_be_folded(
    monkeypatch: pytest.MonkeyPatch, log: LogDouble
) -> None:
    monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.01)
    store = WatchedStore()
    made = Projector(log, store, nothing, Instruments())  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    log.write(1)
    await eventually(lambda: made.sequence == 1)
    assert not store.released
    await store.commit(Position("epoch", 1), Position("epoch", 2), [])  # by another instance
    await eventually(lambda: store.released == [Position("epoch", 2)])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
