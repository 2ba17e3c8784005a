from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.nats.following import follow
from services.chassis.nats.link import NatsLink, NatsRefused, NobodyAnswers
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_making import ensure_stream, stream_config
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_cluster import NatsCluster
from tests.support.servers_native import NativeNats

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


async def test_without_jetstream_it_says_what_to_switch_on(tmp_path):
    server = NativeNats(tmp_path)
    try:
        server.configure('accounts { A { users: [ { user: "a", password: "b" } ] } }\nno_auth_user: "a"')
        server.start()
        async with linked(server.url) as link:
            with pytest.raises(NatsRefused, match="JetStream not enabled for account: switch JetStream on"):
                await ensure_stream(link, CONFIG)
    finally:
        server.close()


async def test_a_server_without_jetstream_is_no_riddle(nats_server, monkeypatch):
    async with linked(nats_server.url) as link:
        nobody = type(link.stream_manager())(link._client, prefix="$JS.NOBODY.API", timeout=1)
        monkeypatch.setattr(link, "stream_manager", lambda timeout_s: nobody)
        with pytest.raises(NobodyAnswers, match="stream S: nobody answers for JetStream: switch JetStream on"):
            await ensure_stream(link, CONFIG)


async def test_too_little_room_says_how_much_is_asked_for_and_what_to_raise(tmp_path):
    server = NativeNats(tmp_path)
    try:
        server.configure("jetstream { max_file_store: 1MB }")
        server.start()
        async with linked(server.url) as link:
            big = stream_config("S", "s.*", 3600, 60, max_bytes=2_000_000)
            with pytest.raises(NatsRefused, match="for its 2000000 bytes: raise max_file_store of NATS"):
                await ensure_stream(link, big)
            with pytest.raises(NatsRefused, match="for its 2000000 bytes: lower x, or raise max_file_store of NATS"):
                await ensure_stream(link, big, room_setting="x")
    finally:
        server.close()


def test_only_odd_numbers_of_replicas_make_sense() -> None:
    with pytest.raises(ValueError, match=r"expected nats.replicas 1, 3 or 5"):
        NatsSettings(replicas=2)
