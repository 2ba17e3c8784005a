"""Parts of a log that many clients need: how often the log is read for them, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec import Raw

from proto.messages import Publication
from services.edge.broker.broker import LogEntry, LogPage
from services.edge.channels import log_parts
from services.edge.channels.channel import Channel
from services.edge.channels.log_parts import KEPT_S, PART_BYTES, Part, cut
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.namespaces import rules_of

KB = "x" * 1000
CHAT, NEWS = "epoch1", "epoch2"


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


@contextmanager
def used(edge: TestEdge, name: str) -> Iterator[Channel]:
    with edge.node.channels.using(name, rules_of(name)) as channel:
        yield channel


async def publish(edge: TestEdge, channel: str, count: int, text: str = KB) -> None:
    for number in range(count):
        await edge.publish(channel, [number, text])


async def walk(edge: TestEdge, channel: Channel, offset: int) -> list[int]:
    """What a client reads after `offset`, as far as there is a log."""
    parts, seen = edge.node.parts, []
    assert channel.log is not None
    while offset < channel.log.last:
        part = parts.known(channel, NEWS, offset)
        if part is None:
            assert await parts.read(channel, NEWS, offset)
            continue
        seen += [publication.offset for publication in part.between(offset, channel.log.last).publications]
        offset = part.upto
    return seen


async def test_whoever_starts_wherever_shares_the_same_reads(edge):
    await publish(edge, "news:x", 600)
    with used(edge, "news:x") as channel:
        await edge.node.sync.opened(channel)
        before = edge.broker.reads
        starts = [1, 1, 1, 40, 250, 3, 599, 2, *range(100, 200)]
        found = await asyncio.gather(*(walk(edge, channel, start) for start in starts))
        assert found == [list(range(start + 1, 601)) for start in starts]
        assert edge.broker.reads - before <= 12, "600 KB are three reads; some began between two parts"
        assert edge.broker.most_reading == 1


async def test_parts_are_small_and_do_not_overlap(edge):
    await publish(edge, "news:x", 600)
    with used(edge, "news:x") as channel:
        await edge.node.sync.opened(channel)
        for start in (300, 10, 590, 1):
            await walk(edge, channel, start)
        upto = 1
        while upto < 600:
            part = edge.node.parts.known(channel, NEWS, upto)
            assert part is not None and part.start == upto
            assert part.size <= PART_BYTES + 4000
            upto = part.upto


async def test_what_is_kept_is_bounded_and_what_is_gone_is_read_again(edge, monkeypatch):
    monkeypatch.setattr(log_parts, "KEPT_BYTES", 4 * PART_BYTES)
    await publish(edge, "news:x", 600)
    with used(edge, "news:x") as channel:
        await edge.node.sync.opened(channel)
        for _ in range(2):
            assert await walk(edge, channel, 1) == list(range(2, 601))
            assert 0 < edge.node.parts.kept_bytes <= 4 * PART_BYTES
        part = edge.node.parts.known(channel, NEWS, 595)
        assert part is not None
        for format in (WEBSOCKET_JSON, WEBSOCKET_PROTOBUF):
            part.pushes(format, "news:x", delta=False)
        before = edge.node.parts.kept_bytes
        assert edge.node.parts.known(channel, NEWS, 595) is part
        assert edge.node.parts.kept_bytes > before, "frames count too"


async def test_what_nobody_uses_is_forgotten(edge, monkeypatch):
    await publish(edge, "news:x", 300)
    parts = edge.node.parts
    with used(edge, "news:x") as channel:
        await edge.node.sync.opened(channel)
        await walk(edge, channel, 1)
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + KEPT_S + 1)
        parts._sweep()
        assert parts.kept_bytes == 0 and parts.known(channel, NEWS, 1) is None and not parts._logs
    parts.stop()


async def test_an_evicted_position_is_not_read_on_from(edge):
    await publish(edge, "chat:x", 15)  # ten are kept
    with used(edge, "chat:x") as channel:
        await edge.node.sync.opened(channel)
        assert channel.log is not None
        assert not await edge.node.parts.read(channel, CHAT, 3)
        assert edge.node.parts.known(channel, CHAT, 3) is None
        assert await edge.node.parts.read(channel, CHAT, 6)


async def test_a_proof_is_as_fresh_as_its_question(edge):
    await publish(edge, "chat:x", 10)
    parts = edge.node.parts
    with used(edge, "chat:x") as channel:
        await edge.node.sync.opened(channel)
        before = edge.broker.reads
        first = [asyncio.create_task(parts.proven(channel, CHAT, 1)) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        edge.shared.logs["chat"].remove("chat:x", 5)
        later = [asyncio.create_task(parts.proven(channel, CHAT, 1)) for _ in range(100)]
        assert not any(await asyncio.gather(*later)), "those who ask after the removal must not get an earlier answer"
        await asyncio.gather(*first)
        # A proof that fails reads twice: a publication that comes in between looks like one that is missing.
        assert edge.broker.reads - before <= 4, "and one proof answers all who ask meanwhile"


async def test_a_failed_read_fails_for_those_who_wait_and_is_tried_again(edge, monkeypatch):
    await publish(edge, "news:x", 300)
    read = edge.broker.read

    async def failing(*_: object) -> LogPage:
        await asyncio.sleep(0)
        raise ConnectionError("gone")

    with used(edge, "news:x") as channel:
        await edge.node.sync.opened(channel)
        monkeypatch.setattr(edge.broker, "read", failing)
        given_up = asyncio.create_task(edge.node.parts.read(channel, NEWS, 1))
        failed = await asyncio.gather(
            *(edge.node.parts.read(channel, NEWS, offset) for offset in (1, 1, 2)), return_exceptions=True
        )
        assert [type(each) for each in failed] == [ConnectionError] * 3
        given_up.cancel()
        monkeypatch.setattr(edge.broker, "read", read)
        assert await walk(edge, channel, 1) == list(range(2, 301))


def entries(*sizes: int) -> list[LogEntry]:
    return [
        LogEntry(number, Publication(Raw(b"x" * size), offset=number) if size else None)
        for number, size in enumerate(sizes, 11)
    ]


def test_a_part_ends_with_a_publication_and_the_next_one_begins_after_it() -> None:
    large = PART_BYTES
    parts = list(cut(10, 20, entries(1, 1, large, 0, 1, large, large, 1)))
    assert [(part.start, part.upto) for part in parts] == [(10, 13), (13, 16), (16, 17), (17, 20)]
    assert [[each.offset for each in part.publications] for part in parts] == [[11, 12, 13], [15, 16], [17], [18]]


def test_a_part_of_a_part() -> None:
    part = Part(10, 20, [each.publication for each in entries(1, 1, 1) if each.publication])
    assert part.between(10, 20) is part and part.between(3, 99) is part
    inside = part.between(11, 12)
    assert (inside.start, inside.upto, [each.offset for each in inside.publications]) == (11, 12, [12])


def test_frames_are_made_once_for_all_clients_of_a_kind() -> None:
    part = Part(10, 20, [Publication(Raw(b'{"a":1}'), offset=11)])
    plain = part.pushes(WEBSOCKET_JSON, "news:x", delta=False)
    assert part.pushes(WEBSOCKET_JSON, "news:x", delta=False) is plain
    assert part.pushes(WEBSOCKET_JSON, "news:x", delta=True).framed != plain.framed
