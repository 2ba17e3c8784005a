"""Streams that follow others, on a real server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.chassis.nats.following import follow, last_followed, read_followed, stream_names, unfollow
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import expect_last, purge, store
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def follow_source(link: NatsLink, max_age_s: float = 60) -> tuple[bool, int]:
    return await follow(
        link, "INDEX", "SOURCE", "delivery", max_msgs_per_subject=3, max_age_s=max_age_s, max_bytes=1 << 20
    )


async def source(link) -> None:
    await ensure_stream(link, stream_config("SOURCE", "from.>", 60, 1, max_msgs_per_subject=2))


async def followed(link) -> list[tuple[int, int]]:
    return [(each.number, each.sequence) for each in (await read_followed(link, "INDEX", 10))[0]]


async def test_it_has_the_headers_of_all_messages_without_their_bodies(nats_server):
    async with linked(nats_server.url) as link:
        await source(link)
        await store(link, "from.a", b"a body", b"NATS/1.0\r\nFairlead-Tags: {}\r\n\r\n")
        await follow_source(link)
        await store(link, "from.b", b"another body", expect_last(None, 0))
        await eventually(lambda: _has(link, 2))
        assert await followed(link) == [(1, 1), (2, 2)]
        (first, second), left = await read_followed(link, "INDEX", 2)
        assert left == 0
        assert b"Fairlead-Tags: {}" in first.headers and b"Nats-Msg-Size: 6" in first.headers
        assert first.skipped == second.skipped
        only, _ = await read_followed(link, "INDEX", 10, "from.b")
        assert [each.sequence for each in only] == [2]
        newest = await last_followed(link, "INDEX", "from.a")
        assert newest is not None and newest.sequence == 1
        assert await last_followed(link, "INDEX", "from.c") is None


async def _has(link, sequence: int) -> bool:
    newest = await last_followed(link, "INDEX")
    return newest is not None and newest.sequence == sequence


async def test_it_goes_on_where_it_was_when_the_server_was_killed(nats_server):
    async with linked(nats_server.url) as link:
        await source(link)
        await follow_source(link)
        await store(link, "from.a", b"1", None)
        await eventually(lambda: _has(link, 1))
    nats_server.kill9()
    nats_server.start()
    async with linked(nats_server.url) as link:
        await store(link, "from.a", b"2", None)
        await eventually(lambda: _has(link, 2))
        assert await followed(link) == [(1, 1), (2, 2)]


async def test_what_was_removed_before_it_could_be_followed_shows(nats_server):
    async with linked(nats_server.url) as link:
        await source(link)
        for _ in range(3):
            await store(link, "from.a", b"1", None)
        await purge(link, "SOURCE", "from.a", before=3)
        await store(link, "from.b", b"1", None)
        await follow_source(link)
        await eventually(lambda: _has(link, 4))
        await store(link, "from.b", b"1", None)
        await store(link, "from.b", b"1", None)
        await eventually(lambda: _has(link, 6))
        await purge(link, "SOURCE", "from.b", before=7)
        assert [each.skipped for each in (await read_followed(link, "INDEX", 10))[0]] == [2, 2, 2, 2]


async def test_its_limits_are_changed_in_place(nats_server):
    async with linked(nats_server.url) as link:
        await source(link)
        await follow_source(link)
        await store(link, "from.a", b"1", None)
        await eventually(lambda: _has(link, 1))
        manager = link.stream_manager()
        config = (await manager.stream_info("INDEX")).config
        await manager.update_stream(replace(config, description="of an operator"))
        assert await follow_source(link) == (False, 3)
        assert await follow_source(link, max_age_s=120) == (False, 3)
        assert await followed(link) == [(1, 1)]
        info = await link.stream_manager().stream_info("INDEX")
        assert info.config.max_age == 120 and info.config.description == "of an operator"


async def test_it_says_when_it_begins_to_follow_or_begins_again(nats_server):
    async with linked(nats_server.url) as link:
        await source(link)
        assert await follow_source(link) == (True, 3)
        assert await follow_source(link) == (False, 3)
        await link.stream_manager().delete_consumer("SOURCE", "INDEX")
        assert await follow_source(link) == (True, 3)


async def test_its_end_leaves_nothing_behind(nats_server):
    async with linked(nats_server.url) as link:
        await source(link)
        await follow_source(link)
        assert await stream_names(link, "IN") == ["INDEX"] and await stream_names(link, "X") == []
        for _ in range(2):
            await unfollow(link, "INDEX", "SOURCE")
        assert await stream_names(link, "IN") == []
        assert await link.stream_manager().consumers_info("SOURCE") == []


async def test_a_source_that_does_not_exist_is_refused(nats_server):
    async with linked(nats_server.url) as link:
        with pytest.raises(NatsRefused):
            await follow_source(link)


class WithoutLeader:
    """A link to a cluster whose JetStream has no leader now."""

    async def request(self, subject: str, data: bytes, **options: object) -> tuple[None, bytes]:
        return None, b'{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}'


async def test_a_cluster_without_a_leader_refuses_nothing_for_good():
    """Otherwise logs would be without their index for half a minute, until a refused request is repeated."""
    with pytest.raises(NatsAway, match="temporarily unavailable"):
        await stream_names(WithoutLeader(), "IDX_")  # type: ignore[arg-type]  # a double
    limits = {"max_msgs_per_subject": 1, "max_age_s": 1.0, "max_bytes": -1}
    with pytest.raises(NatsAway, match="temporarily unavailable"):
        await follow(WithoutLeader(), "IDX_a", "CH_a", "idx.a", **limits)  # type: ignore[arg-type]  # a double
