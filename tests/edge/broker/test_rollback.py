"""A stream whose past comes back: no position of what was lost is ever one of the log again, whoever was looking."""

from __future__ import annotations

import asyncio

import pytest

from proto import subjects
from proto.messages import StreamPosition
from services.chassis.nats.stream_reads import read_last
from services.chassis.nats.streams import StreamState, stream_state
from services.edge.broker import log_streams_nats, rollback_nats
from services.edge.broker.broker_nats import NatsBroker
from services.edge.broker.log_lineage import Lineage
from services.edge.broker.stream_marks_nats import Mark
from tests.contract.broker import CHAT, NEWS, Listener, store
from tests.edge.broker.test_broker_nats import PARTITIONS, broker
from tests.support.cuttable_link import cuttable
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers import NatsServer
from tests.support.snapshots import restore, snapshot

WHERE = subjects.log_address(NEWS.history_class, PARTITIONS, NEWS.channel)


async def store_many(broker: NatsBroker, count: int) -> list[StreamPosition]:
    return [await store(broker, NEWS, i) for i in range(count)]


async def publish_past_edges(url: str, count: int) -> None:
    """As a backend does that publishes straight to NATS."""
    async with linked(url) as link:
        for i in range(count):
            await link.request(WHERE.stored, str(i).encode())


def restart(nats: NatsServer, *, back_up: bool = False, restored: bool = False) -> None:
    nats.stop()
    if back_up:
        nats.back_up()
    if restored:
        nats.restore()
    nats.start()


def valid(broker: NatsBroker, position: StreamPosition) -> bool:
    return broker.continued(NEWS, position).epoch == broker.epoch(NEWS)


async def marked(url: str, position: StreamPosition) -> None:
    """Waits until edges have marked that the stream has come to a position."""
    async with linked(url) as link:

        async def come() -> bool:
            message = await read_last(link, subjects.MARKS_STREAM, subjects.stream_mark(WHERE.stream))
            mark = None if message is None else Mark.decode(message.data)
            return mark is not None and mark.timed >= position.offset

        await eventually(come)


async def stopped(nats: NatsServer, *brokers: NatsBroker) -> None:
    """Stops NATS, and waits until the edges have noticed."""
    nats.stop()
    await eventually(lambda: not any(each.available for each in brokers))


async def started(nats: NatsServer, *brokers: NatsBroker) -> None:
    """Starts NATS, and waits until the edges are back."""
    nats.start()
    await eventually(lambda: all(each.available for each in brokers))


@pytest.mark.integration
class TestRollback:
    async def test_a_restart_of_nats_ends_no_epoch_for_edges_that_stay(self, nats_server):
        async with broker(nats_server.url, Listener()) as a:
            position = (await store_many(a, 3))[-1]
            for _ in range(2):
                nats_server.kill9()
                await eventually(lambda: not a.available)
                nats_server.start()
                await eventually(lambda: a.available)
                assert a.epoch(NEWS) == position.epoch
            async with broker(nats_server.url, Listener()) as later:
                assert later.epoch(NEWS) == position.epoch, "one that comes later relies on those that stayed"

    async def test_a_restart_of_nats_ends_no_epoch_although_the_marked_message_is_gone(self, nats_server):
        async with broker(nats_server.url, Listener()) as a:
            await marked(nats_server.url, await store(a, NEWS, 1))  # and behind the messages for the index
            await marked(nats_server.url, position := await store(a, NEWS, 2))
            await a.remove_history(NEWS)
            after = await store(a, NEWS, 3)
            nats_server.stop()  # before the next mark; after a kill -9 NATS may have forgotten the removal
            await eventually(lambda: not a.available)
            nats_server.start()
            await eventually(lambda: a.available)
            assert after.epoch == a.epoch(NEWS) == position.epoch

    async def test_a_restart_of_everything_keeps_every_position(self, nats_server):
        async with broker(nats_server.url, Listener()) as a:
            positions = await store_many(a, 3)
        restart(nats_server)
        async with broker(nats_server.url, Listener()) as a, broker(nats_server.url, Listener()) as b:
            assert a.epoch(NEWS) == b.epoch(NEWS)
            for position in positions:
                assert valid(a, position) and valid(b, position)
            after = await store(a, NEWS, 4)
            assert not valid(a, StreamPosition(after.offset, positions[0].epoch)), "never given in that epoch"
            assert valid(a, StreamPosition(0, positions[0].epoch))

    async def test_an_older_copy_that_no_edge_has_watched(self, nats_server):
        async with broker(nats_server.url, Listener()) as a:
            kept = (await store_many(a, 5))[-1]
            await stopped(nats_server, a)
            nats_server.back_up()
            await started(nats_server, a)
            lost = (await store_many(a, 5))[-1]
            assert lost.epoch == kept.epoch
        restart(nats_server, restored=True)
        async with broker(nats_server.url, Listener()) as a:
            await store_many(a, 10)
            assert a.epoch(NEWS) != lost.epoch
            assert not valid(a, lost), "another message is there now"
            assert valid(a, kept)

    async def test_an_older_copy_in_which_nobody_was_when_it_was_made(self, nats_server):
        async with broker(nats_server.url, Listener()) as a:
            kept = (await store_many(a, 5))[-1]
        restart(nats_server, back_up=True)
        async with broker(nats_server.url, Listener()) as a:
            lost = (await store_many(a, 5))[-1]
        restart(nats_server, restored=True)
        async with broker(nats_server.url, Listener()) as a:
            await store_many(a, 10)
            assert not valid(a, lost) and valid(a, kept)

    async def test_an_edge_that_stays_but_has_not_used_the_stream_notices_too(self, nats_server):
        async with broker(nats_server.url, Listener()) as idle:
            async with broker(nats_server.url, Listener()) as a:
                await store_many(a, 5)
                await stopped(nats_server, a, idle)
                nats_server.back_up()
                await started(nats_server, a, idle)
                lost = (await store_many(a, 5))[-1]
                await marked(nats_server.url, lost)
            await stopped(nats_server, idle)
            nats_server.restore()
            await started(nats_server, idle)
            await store_many(idle, 10)
            assert not valid(idle, lost)

    async def test_an_older_copy_that_has_grown_past_what_was_seen_before_an_edge_looks(self, nats_server):
        async with (
            cuttable(nats_server.url) as link,
            broker(link.url, Listener()) as late,
            broker(nats_server.url, Listener()) as a,
        ):
            await store_many(a, 5)
            link.drop()
            await stopped(nats_server, a, late)
            nats_server.back_up()
            await started(nats_server, a)
            await link.mend()
            await eventually(lambda: late.available)
            lost = (await store_many(a, 5))[-1]
            await marked(nats_server.url, lost)
            link.drop()
            await eventually(lambda: not late.available)
            await stopped(nats_server, a)
            nats_server.restore()
            await started(nats_server, a)
            assert not valid(a, lost)
            await store_many(a, 10)
            await link.mend()
            await eventually(lambda: late.available)
            assert not valid(late, lost) and late.epoch(NEWS) == a.epoch(NEWS)

    async def test_one_stream_restored_while_nats_stays_and_no_edge_runs(self, nats_server):
        async with broker(nats_server.url, Listener()) as a, linked(nats_server.url) as link:
            await store_many(a, 5)
            kept = await snapshot(link, WHERE.stream)
            lost = (await store_many(a, 5))[-1]
            await marked(nats_server.url, lost)
        async with linked(nats_server.url) as link:
            await link.stream_manager().delete_stream(WHERE.stream)
            await restore(link, WHERE.stream, kept)
        await publish_past_edges(nats_server.url, 15)
        async with broker(nats_server.url, Listener()) as a:
            assert not valid(a, lost)

    async def test_one_stream_restored_under_running_edges(self, nats_server):
        async with broker(nats_server.url, Listener()) as a, broker(nats_server.url, Listener()) as b:
            async with linked(nats_server.url) as link:
                await store_many(a, 5)
                kept = await snapshot(link, WHERE.stream)
                lost = (await store_many(a, 5))[-1]
                await marked(nats_server.url, lost)
                await link.stream_manager().delete_stream(WHERE.stream)
                await restore(link, WHERE.stream, kept)
            await publish_past_edges(nats_server.url, 15)
            await eventually(lambda: not valid(a, lost) and not valid(b, lost))
            after = await store(a, NEWS, 1)
            assert after.epoch != lost.epoch
            await eventually(lambda: a.epoch(NEWS) == b.epoch(NEWS))

    async def test_edges_that_start_at_once_after_nats_agree_on_the_epoch(self, nats_server):
        async with broker(nats_server.url, Listener()) as a:
            await store_many(a, 3)
        restart(nats_server)
        async with broker(nats_server.url, Listener()) as a, broker(nats_server.url, Listener()) as b:
            position = await store(a, NEWS, 1)
            await b.state(NEWS)
            assert b.epoch(NEWS) == position.epoch


def test_positions_of_an_ended_epoch_are_valid_up_to_its_end():
    first = Lineage("a", leaders=("x",))
    second = first.ended(10, "y")
    third = Lineage.of(second.metadata).ended(7, "z")  # it fell in between
    assert second.continues("a", 10) and not second.continues("a", 11) and not second.continues("b", 1)
    assert third.continues("a", 7) and not third.continues("a", 8) and third.continues(second.epoch, 7)
    assert not third.void("z").continues("a", 1)


def test_edges_that_end_an_epoch_for_the_same_reason_agree():
    assert Lineage("a").ended(10, "y").epoch == Lineage("a").ended(10, "y").epoch != Lineage("a").ended(10, "z").epoch


def test_a_stream_that_has_become_part_of_a_cluster_was_not_restored_by_that():
    comparable = rollback_nats._comparable
    assert comparable(Lineage("a", leaders=("x",)), "y") and comparable(Lineage("a", leaders=("n1@1",)), "n1@2")
    assert not comparable(Lineage("a", leaders=("x",)), "n1@1") and not comparable(Lineage("a"), "x")


def state(last_at: str, replicas: int = 1) -> StreamState:
    return StreamState("a", 1, 9, {}, last_at=last_at, replicas=replicas)


def test_without_the_marked_message_a_stream_goes_on_if_nothing_was_stored_since_or_most_of_its_servers_stayed():
    goes_on, known = rollback_nats._goes_on, rollback_nats.Known("a", 9, None, connected_until=1764374400.0)
    assert goes_on(state("2025-11-28T23:59:59.9Z"), known) and not goes_on(state("2025-11-29T00:00:00.1Z"), known)
    assert goes_on(state("2025-11-29T00:00:00.1Z", replicas=3), known)
    assert not goes_on(state("2025-11-29T00:00:00.1Z", replicas=2), known), "one of two is no majority"
    assert not goes_on(state(""), known)


def test_what_is_remembered_of_epochs_and_leaders_is_bounded():
    lineage = Lineage("a")
    for i in range(100):
        lineage = lineage.ended(i, f"server-{i}").led_by(f"other-{i}")
    assert len(lineage.earlier) == 32 and len(" ".join(lineage.metadata.values())) < 2000


def test_metadata_that_is_not_ours_is_no_lineage():
    assert Lineage.of({"fairlead-earlier-epochs": "x y:z :1"}).earlier == (("", 1),)


@pytest.mark.parametrize("data", [b"", b"a", b"a\nb\n1\n", b"a\n1", b"\xff\n-1\n1\n"])
def test_a_mark_that_is_none_is_ignored(data):
    assert Mark.decode(data) is None


def test_a_mark_is_read_as_it_was_written():
    for mark in (Mark("a", 1), Mark("a", 2, 1, "2026-11-28T12:00:00Z", ("b", "c"))):
        assert Mark.decode(mark.encode()) == mark


async def test_a_stream_that_is_silent_keeps_no_other_from_being_marked(nats_server, monkeypatch):
    read, hangs = stream_state, asyncio.Event()

    async def answer(link, name):
        if name.startswith("CH_chat"):
            hangs.set()
            await asyncio.Event().wait()
        return await read(link, name)

    async with broker(nats_server.url, Listener()) as a:
        monkeypatch.setattr(log_streams_nats, "stream_state", answer)
        await store(a, CHAT, 1)
        await eventually(hangs.is_set)
        await marked(nats_server.url, await store(a, NEWS, 2))
