"""What the watch writes of lost edges, and what it says while it cannot. With real edges: test_with_edges.py."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from proto.events import Closed, EdgeFound, EdgeLost, EdgeStarted, EdgeStopped, EventBatch, Opened
from proto.telemetry import Heartbeat, encode_heartbeat
from services.sessions.edge_silence import EdgeSilence
from services.sessions.edge_watch import EdgeWatch, moment_of
from services.sessions.heard_edges import Heard, HeardEdges
from services.sessions.log_nats import LogAway
from services.sessions.rows import MAX_ID, MAX_LABEL_BYTES
from services.sessions.store import ORIGIN, Position, StoreAway
from tests.sessions.edge_double import PROCESS
from tests.sessions.heard_table import HeardInMemory
from tests.support.store_memory import MemoryStore

LOST_AFTER_S = 3_600.0


class LogDouble:
    """A session log that refuses to be written while `refuses` says why."""

    def __init__(self) -> None:
        self.refuses = ""
        self.written: list[EventBatch] = []

    async def append(self, batch: EventBatch) -> None:
        if self.refuses:
            raise LogAway(self.refuses)
        self.written.append(batch)


async def with_a_silent_edge(
    log: LogDouble, table: HeardInMemory | None = None
) -> tuple[EdgeWatch, MemoryStore, EdgeSilence]:
    """A watch that has heard nothing for long, and a store with a connection to the edge of instance i1."""
    store, silence = MemoryStore(60_000), EdgeSilence(LOST_AFTER_S)
    opened = EventBatch("edge-1", "i1", 1, [Opened(at=1, connection="c1", user="ann")])
    await store.commit(ORIGIN, Position("e", 1), [opened])
    silence.on_connected(time.monotonic() - 2 * LOST_AFTER_S)
    heard = HeardEdges(table or HeardInMemory())
    watch = EdgeWatch(silence, log, store, heard, "sessions", lambda: True)  # type: ignore[arg-type]  # a double
    return watch, store, silence


async def fold(store: MemoryStore, batch: EventBatch) -> None:
    at = await store.position()
    await store.commit(at, Position("e", at.sequence + 1), [batch])


async def test_a_loss_that_cannot_be_written_is_said_once_and_why(caplog: pytest.LogCaptureFixture) -> None:
    log = LogDouble()
    watch, store, _ = await with_a_silent_edge(log)
    log.refuses = "NATS: JetStream: insufficient resources"
    for _ in range(5):
        await watch.look()
    assert log.refuses in str(watch.problem)
    assert [caplog.text.count(part) for part in ("an edge with open connections is lost", log.refuses)] == [1, 1]
    log.refuses = ""
    await watch.look()
    (lost,) = log.written
    assert watch.problem is None and isinstance(lost.events[0], EdgeLost) and lost.number == 1
    await fold(store, lost)
    await watch.look()
    assert log.written == [lost], "nothing is left to be said"


async def test_a_store_that_only_the_watch_cannot_ask_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch, store, _ = await with_a_silent_edge(LogDouble())

    async def fails() -> set[str]:
        raise StoreAway("PostgreSQL does not answer in time")

    monkeypatch.setattr(store, "open_instances", fails)
    for _ in range(5):
        await watch.look()
    assert "does not answer in time" in str(watch.problem)
    assert caplog.text.count("does not answer in time") == 1


async def test_a_return_is_said_once_and_written(caplog: pytest.LogCaptureFixture) -> None:
    log = LogDouble()
    watch, store, silence = await with_a_silent_edge(log)
    await watch.look()
    await fold(store, log.written[-1])
    silence.heard("i1", time.monotonic(), int(time.time() * 1000), "edge-1")
    for _ in range(3):
        await watch.look()
    found = log.written[-1]
    assert found.number == 2 and found.events == [EdgeFound(at=found.events[0].at, instance="i1")]
    assert caplog.text.count("is heard again") == 1


async def test_an_edge_that_came_back_and_died_before_it_was_heard_ends_the_connections_that_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = LogDouble()
    watch, store, silence = await with_a_silent_edge(log)
    await watch.look()
    await fold(store, log.written[-1])
    await fold(store, EventBatch("edge-1", "i1", 2, [Opened(at=2, connection="c2", user="bob")]))
    await watch.look()
    assert len(log.written) == 1, "it may be back"
    monkeypatch.setattr(silence, "_lost_after_s", 0.0)  # as if it had stayed silent for so long
    await watch.look()
    lost = log.written[-1]
    assert lost.number == 3 and isinstance(lost.events[0], EdgeLost)
    await fold(store, lost)
    assert await store.open_instances() == set()
    await watch.look()
    assert log.written[-1] is lost


async def test_a_loss_is_at_the_moment_when_another_process_of_this_service_heard_the_edge_last() -> None:
    log, table = LogDouble(), HeardInMemory()
    watch, _, _ = await with_a_silent_edge(log, table)
    await table.keep([Heard("i1", "edge-1", 12_345)])
    await watch.look()
    (lost,) = log.written
    assert lost.events == [EdgeLost(at=12_345, instance="i1")]


async def test_a_loss_of_an_edge_that_nobody_heard_is_not_after_its_last_fact() -> None:
    log, table = LogDouble(), HeardInMemory()
    watch, _, _ = await with_a_silent_edge(log, table)
    table.facts["i1"] = 1
    await watch.look()
    assert log.written[0].events == [EdgeLost(at=1, instance="i1")]


async def test_an_edge_without_connections_is_lost_too_unless_it_was_stopped(caplog: pytest.LogCaptureFixture) -> None:
    log = LogDouble()
    watch, store, _ = await with_a_silent_edge(log)
    await fold(store, EventBatch("edge-1", "i1", 2, [Closed(at=2, connection="c1", code=1000)]))
    for instance in ("idle", "stopped"):
        await fold(store, EventBatch("edge-2", instance, 1, [EdgeStarted(at=1)]))
    await fold(store, EventBatch("edge-2", "stopped", 2, [EdgeStopped(at=2)]))
    await watch.look()
    (lost,) = log.written
    assert [type(one) for one in lost.events] == [EdgeLost] and lost.instance == "watch-idle"
    assert "an edge without connections is lost" in caplog.text
    await fold(store, lost)
    await watch.look()
    assert log.written == [lost], "nothing is left to be said"


@pytest.mark.parametrize(
    ("sent", "heard"), [(9_900, 9_900), (5_000, 5_000), (4_999, 10_000), (10_001, 10_000), (-(2**70), 10_000)]
)
def test_a_heartbeat_says_when_its_edge_lived_if_that_can_be_true(sent: int, heard: int) -> None:
    assert moment_of(sent, received_ms=10_000) == heard


async def test_what_the_watch_hears_is_kept() -> None:
    table = HeardInMemory()
    watch, _, silence = await with_a_silent_edge(LogDouble(), table)
    now = int(time.time() * 1000)
    beat = Heartbeat(service="edge", name="edge-1", instance="i1", version="0", at=now, process=PROCESS)
    for data in (b"rubbish", encode_heartbeat(beat)):
        watch.heard(data)
    await watch._heard_edges.write()
    assert table.rows == {"i1": Heard("i1", "edge-1", now)}
    watch.heard(encode_heartbeat(replace(beat, instance="i\0" * 100_000, name="n" * 100_000)))
    await watch._heard_edges.write()
    (long,) = table.rows.keys() - {"i1"}
    assert len(long) == MAX_ID and "\0" not in long and len(table.rows[long].edge) == MAX_LABEL_BYTES
    assert long in silence._heard
