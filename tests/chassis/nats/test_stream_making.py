from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.nats.following import follow
from services.chassis.nats.link import NatsLink, NatsRefused
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_making import ensure_stream, stream_config
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_cluster import NatsCluster

pytestmark = pytest.mark.integration

CONFIG = stream_config("S", "s.*", 3600, 60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    cluster = NatsCluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


async def _made(link: NatsLink) -> bool:
    """False while JetStream still elects its leader."""
    await ensure_stream(link, stream_config("FIRST", "first.*", 3600, 60))
    return True


async def _copies(link: NatsLink, stream: str) -> int:
    return (await link.stream_manager().stream_info(stream)).config.num_replicas or 1


async def test_streams_and_what_follows_them_have_as_many_replicas_as_is_set_and_change_in_place(cluster):
    async with linked(cluster.url) as link:  # nothing is set
        await eventually(lambda: _made(link), within_s=40)
        await ensure_stream(link, CONFIG)
        await _follow(link)
        assert [await _copies(link, name) for name in ("S", "F")] == [1, 1]
    async with linked(NatsSettings(url=cluster.url, replicas=3)) as link:
        await ensure_stream(link, CONFIG)
        await ensure_stream(link, stream_config("OTHER", "other.*", 3600, 60))
        await ensure_stream(link, stream_config("OWN", "own.*", 3600, 60, replicas=1))
        await _follow(link)
        assert [await _copies(link, name) for name in ("S", "F", "OTHER", "OWN")] == [3, 3, 3, 1]
        await ensure_stream(link, stream_config("OTHER", "other.*", 3600, 60, replicas=1))
        assert await _copies(link, "OTHER") == 1
    async with linked(cluster.url) as link:
        await ensure_stream(link, CONFIG)
        await _follow(link)
        assert [await _copies(link, name) for name in ("S", "F")] == [3, 3], "nobody asked for less"


async def _follow(link: NatsLink) -> None:
    await follow(link, "F", "S", "deliver", max_msgs_per_subject=1, max_age_s=60, max_bytes=-1)


async def test_a_single_server_that_is_asked_for_replicas_says_which_setting_to_change(nats_server):
    async with linked(NatsSettings(url=nats_server.url, replicas=3)) as link:
        with pytest.raises(NatsRefused, match=r"nats\.replicas .* asks for 3 servers, but NATS is a single server"):
            await ensure_stream(link, CONFIG)
    async with linked(nats_server.url) as link:
        await ensure_stream(link, CONFIG)
    async with linked(NatsSettings(url=nats_server.url, replicas=3)) as link:
        with pytest.raises(NatsRefused, match=r"nats\.replicas .* asks for 3 servers, but NATS is a single server"):
            await ensure_stream(link, CONFIG)


def test_only_odd_numbers_of_replicas_make_sense() -> None:
    with pytest.raises(ValueError, match=r"expected nats.replicas 1, 3 or 5"):
        NatsSettings(replicas=2)
