"""SIGHUP on a NATS cluster: a reload changes replicas in place, and does not need all servers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.edges import api, start_edge
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_cluster import NatsCluster, all_current
from tests.support.processes import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.native, pytest.mark.timeout(240)]


def configuration(*namespaces: str, size: int, replicas: int) -> str:
    tables = [
        f'[[channel.namespaces]]\nname = "{name}"\nhistory_size = {size}\nhistory_ttl = "1h"\nreplicas = {replicas}\n'
        for name in namespaces
    ]
    return "[channel]\nhistory_partitions = 2\n" + "".join(tables)


async def streams(cluster: NatsCluster) -> dict[str, tuple[int, int]]:
    """How many messages of a channel each stream of a history keeps, and on how many servers."""
    async with linked(cluster.url) as link:
        configs = [info.config for info in await link.stream_manager().streams_info()]
    return {
        str(each.name): (each.max_msgs_per_subject or 0, each.num_replicas or 1)
        for each in configs
        if each.name and each.name.startswith("CH_")
    }


async def stored(edge: ServiceProcess, channel: str) -> bool:
    answer: dict[str, Any] = (await api(edge, "publish", {"channel": channel, "data": 1})).json()
    return "result" in answer


async def has(cluster: NatsCluster, wanted: dict[str, tuple[int, int]]) -> bool:
    return await streams(cluster) == wanted


async def test_replicas_are_raised_in_place_and_a_killed_server_refuses_no_reload(services, nats_cluster):
    before = configuration("news", size=5, replicas=1)
    edge = await start_edge(services, nats_cluster, "edge-a", before, FAIRLEAD_NATS_REPLICAS="3").ready(60)
    assert await stored(edge, "news:x")
    assert await edge.reload(configuration("news", size=5, replicas=3)) == "reloaded: channel.namespaces"
    await eventually(lambda: has(nats_cluster, {"CH_news_0": (5, 3), "CH_news_1": (5, 3)}), within_s=30)
    async with linked(nats_cluster.url) as link:
        await eventually(lambda: all_current(link), within_s=60)
    nats_cluster.kill9(2)

    async def changed() -> bool:
        """While the cluster elects who changes streams, a reload is refused."""
        return await edge.reload(configuration("news", "more", size=7, replicas=3)) == "reloaded: channel.namespaces"

    await eventually(changed, within_s=60)
    await eventually(lambda: stored(edge, "more:x"), within_s=30)
    wanted = {f"CH_{name}_{number}": (7, 3) for name in ("news", "more") for number in (0, 1)}
    await eventually(lambda: has(nats_cluster, wanted), within_s=30)
    await eventually(lambda: stored(edge, "news:x"), within_s=30)
    answer = (await api(edge, "history", {"channel": "news:x", "limit": -1})).json()
    assert len(answer["result"]["publications"]) >= 2, "what was stored on one server is there"
