"""A NATS cluster of three servers, each killed in turn under load: nothing is lost or doubled, and edges go on."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging

import httpx
import pytest

from tests.support.edges import API_KEY, api, start_edge
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_cluster import all_current
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess
from tests.support.stock_clients import StockClient, data_of

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.integration, pytest.mark.native, pytest.mark.timeout(240)]

CHANNELS = ("big:a", "big:b", "big:c", "big:d")  # in both streams of the namespace
MANY = 10
PAUSE_S = 0.1  # of each of the eight publishers

TOML = """
[channel]
history_partitions = 2
[[channel.namespaces]]
name = "big"
history_size = 5000
history_ttl = "1h"
force_recovery = true
allow_subscribe_for_client = true
"""


class Publisher:
    """Publishes one after another into a channel through an edge's server API, each with a key until it succeeds."""

    def __init__(self, edge: ServiceProcess, channel: str, name: str) -> None:
        self._edge = edge
        self.channel = channel
        self._name = name
        self.stored: list[str] = []
        self.failed = 0
        self.at = [asyncio.get_running_loop().time()]  # it began, and each success
        self.ends = False

    async def run(self) -> None:
        number = 0
        async with http_client() as http:
            while not self.ends:
                number += 1
                data = f"{self._name}-{number}"
                while not await self._publish(http, data):
                    self.failed += 1
                    await asyncio.sleep(0.05)  # as a backend does that tries again
                self.stored.append(data)
                self.at.append(asyncio.get_running_loop().time())
                await asyncio.sleep(PAUSE_S)

    async def _publish(self, http: httpx.AsyncClient, data: str) -> bool:
        body = {"channel": self.channel, "data": data, "idempotency_key": data}
        url, key = f"{self._edge.url}/api/publish", {"X-API-Key": API_KEY}
        try:
            answer = await http.post(url, json=body, headers=key, timeout=10)
        except httpx.TransportError:
            return False
        return "result" in answer.json()


async def _epochs(edge: ServiceProcess) -> dict[str, str]:
    """Those of the channels, as an edge says them."""
    found: dict[str, str] = {}
    for channel in CHANNELS:
        answer = (await api(edge, "history", {"channel": channel, "limit": 0})).json()
        assert "result" in answer, answer
        found[channel] = answer["result"]["epoch"]
    return found


async def _is_ready(edge: ServiceProcess) -> bool:
    async with http_client() as http:
        answer = await http.get(f"{edge.url}/readyz")
    return answer.status_code == 200 and answer.text == "ready\n"


async def test_each_of_three_servers_is_killed_under_load(services, nats_cluster, stock, caplog):
    caplog.set_level("INFO", __name__)
    settings = {"FAIRLEAD_NATS_REPLICAS": "3", "FAIRLEAD_LOG_LEVEL": "info"}
    edges = [start_edge(services, nats_cluster, name, TOML, **settings) for name in ("edge-a", "edge-b")]
    for edge in edges:
        await edge.ready(60)
    readers: list[StockClient] = [stock.of("python-json")(edge, "reader") for edge in edges]
    for reader in readers:
        await reader.connect()
        for channel in CHANNELS:
            await reader.subscribe(channel)
    publishers = [Publisher(edges[n % 2], channel, f"p{n}") for n, channel in enumerate((*CHANNELS, *CHANNELS[::-1]))]
    work = [asyncio.create_task(each.run()) for each in publishers]
    async with linked(nats_cluster.url) as link:
        await eventually(lambda: all_current(link), within_s=60)
        epochs = await eventually(lambda: _epochs(edges[0]))
        for number in range(3):
            counts = [len(each.stored) for each in publishers]
            nats_cluster.kill9(number)
            log.info("server %d is killed", number)
            if number == 0:
                late = start_edge(services, nats_cluster, "edge-late", TOML, **settings)
                await late.ready(60)
                edges.append(late)
            await eventually(functools.partial(_went_on, publishers, counts), within_s=60)
            for edge in edges:
                await eventually(functools.partial(_is_ready, edge), within_s=60)
            log.info("publishing goes on, and every edge is ready")
            nats_cluster.start_again(number)
            await eventually(lambda: all_current(link), within_s=60)
    for each in publishers:
        each.ends = True
    await asyncio.gather(*work)
    for edge in edges:
        assert await eventually(functools.partial(_epochs, edge)) == epochs, "the same log, so every position is valid"
    for channel in CHANNELS:
        stored = [data for each in publishers if each.channel == channel for data in each.stored]
        for reader in readers:
            await eventually(functools.partial(_has_all, reader, channel, stored), within_s=30)
            got = data_of(reader, channel)
            assert len(got) == len(set(got)), "none twice"
            assert set(got) == set(stored), "none lost"
    stored_in_all = sum(len(each.stored) for each in publishers)
    log.info(
        "%d stored and received by each reader, none lost, none doubled; %d attempts failed; the longest time without "
        "a success: %.1f s of one publisher, %.1f s of the four publishers of one edge",
        stored_in_all,
        sum(each.failed for each in publishers),
        max(_longest_s([each]) for each in publishers),
        max(_longest_s(publishers[number::2]) for number in (0, 1)),
    )


def _longest_s(publishers: list[Publisher]) -> float:
    """The longest time without a success of any of them."""
    return max(
        after - before for before, after in itertools.pairwise(sorted(at for each in publishers for at in each.at))
    )


def _went_on(publishers: list[Publisher], counts: list[int]) -> bool:
    return all(len(each.stored) > count + MANY for each, count in zip(publishers, counts, strict=True))


def _has_all(reader: StockClient, channel: str, stored: list[str]) -> bool:
    return set(data_of(reader, channel)) >= set(stored)
