"""An edge that could not hear for a while: stopped itself, behind a NATS that stood still, or cut off.

Publications came meanwhile, and of some channels they expired as well. No subscriber may miss them in silence: it gets
them, or is told.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proto import codes, subjects
from services.chassis.nats.link import NatsLink
from services.chassis.nats.streams import stream_state
from tests.support.cuttable_link import CuttableLink, cuttable
from tests.support.edges import TOML, WireClient, connected, start_edge
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

PARTITIONS = 2
BRIEF_S = 2.0
NAMESPACES = TOML.replace(
    'name = "big"',
    f"""name = "brief"
history_size = 200
history_ttl = "{BRIEF_S:g}s"
force_recovery = true
allow_subscribe_for_client = true
[[channel.namespaces]]
name = "big\"""",
)


def name_in(namespace: str, partition: int) -> str:
    """A channel of a partition."""
    names = (f"{namespace}:{i}" for i in range(100))
    return next(name for name in names if subjects.partition_of(name, PARTITIONS) == partition)


QUIET = 0
BESIDE_A_BUSY_ONE = 1
MISSED = [name_in(namespace, partition) for namespace in ("brief", "chat") for partition in (QUIET, BESIDE_A_BUSY_ONE)]
BUSY = {namespace: f"{namespace}:busy-{i}" for namespace in ("brief", "chat") for i in range(20)
        if subjects.partition_of(f"{namespace}:busy-{i}", PARTITIONS) == BESIDE_A_BUSY_ONE}  # fmt: skip


class Story:
    """Subscribers of an edge whose link to NATS can be cut, and a publisher that needs no edge."""

    def __init__(self, edge: ServiceProcess, link: CuttableLink, nats: NatsServer, client: WireClient) -> None:
        self.edge = edge
        self.link = link
        self.nats = nats
        self.client = client
        self.positions: dict[str, dict[str, Any]] = {}

    async def publish(self, nats: NatsLink, channel: str, *values: int) -> None:
        address = subjects.log_address(channel.partition(":")[0], PARTITIONS, channel)
        for value in values:
            await nats.request(address.stored, str(value).encode())

    async def begin(self) -> None:
        async with linked(self.nats.url) as nats:
            for channel in [*MISSED, *BUSY.values()]:
                at = await self.client.subscribe(channel)
                self.positions[channel] = {"epoch": at["epoch"], "offset": at["offset"]}
            for channel in MISSED:
                await self.publish(nats, channel, 1)
                at = (await self.client.push(channel))["pub"]
                self.positions[channel]["offset"] = at["offset"]

    async def meanwhile(self) -> None:
        """Each channel gets three publications, which in the brief ones expire; the busy ones go on."""
        async with linked(self.nats.url) as nats:
            for channel in MISSED:
                await self.publish(nats, channel, 2, 3, 4)
            quiet = subjects.log_stream("brief", QUIET)

            async def expired() -> bool:
                for channel in BUSY.values():
                    await self.publish(nats, channel, 0)
                state = await stream_state(nats, quiet)
                assert state is not None
                return state.first > state.last

            await eventually(expired)
            busy = subjects.log_stream("brief", BESIDE_A_BUSY_ONE)
            upto = (await stream_state(nats, busy)).last  # type: ignore[union-attr]

            async def busy_expired() -> bool:
                await self.publish(nats, BUSY["brief"], 0)
                state = await stream_state(nats, busy)
                assert state is not None
                return state.first > upto - 1

            await eventually(busy_expired)

    async def after(self) -> dict[str, str]:
        """What became of each channel: its publications "came", or its subscriber was "told"."""
        async with linked(self.nats.url) as nats:

            async def ready() -> bool:
                async with http_client() as http:
                    return (await http.get(f"{self.edge.url}/readyz")).status_code == 200

            await eventually(ready, within_s=20)
            for channel in MISSED:
                await self.publish(nats, channel, 5)
        outcome: dict[str, str] = {}
        seen: dict[str, list[int]] = {channel: [] for channel in MISSED}
        while len(outcome) < len(MISSED):
            message = await self.client.message()
            push = message.get("push", {})
            channel = push.get("channel")
            if not message:
                await self.client.send({})
            elif channel not in MISSED or channel in outcome:
                continue
            elif "unsubscribe" in push:
                assert push["unsubscribe"]["code"] == codes.UNSUBSCRIBED_INSUFFICIENT_STATE.code
                back = await self.resubscribe(channel)
                assert not back.get("recovered"), "what it missed is gone"
                outcome[channel] = "told"
            elif "pub" in push:
                seen[channel].append(push["pub"]["data"])
                if seen[channel][-1] == 5:
                    assert seen[channel] == [2, 3, 4, 5], f"{channel} missed some in silence"
                    outcome[channel] = "came"
        return outcome

    async def resubscribe(self, channel: str) -> dict[str, Any]:
        async with connected(self.edge, "again") as other:
            return await other.subscribe(channel, recover=True, **self.positions[channel])


EXPECTED = {channel: "told" if channel.startswith("brief:") else "came" for channel in MISSED}


@pytest.fixture
async def link(nats_server):
    async with cuttable(nats_server.url) as made:
        yield made


@pytest.fixture
async def story(services, nats_server, link):
    edge = await start_edge(services, nats_server, "edge-a", toml=NAMESPACES, FAIRLEAD_NATS_URL=link.url).ready()
    async with connected(edge) as client:
        made = Story(edge, link, nats_server, client)
        await made.begin()
        yield made


async def test_an_edge_that_stood_still_until_nats_dropped_it_misses_nothing_in_silence(story):
    story.edge.pause()
    story.link.drop()
    await story.meanwhile()
    await story.link.mend()
    story.edge.resume()
    assert await story.after() == EXPECTED


async def test_an_edge_behind_a_nats_that_stood_still_misses_nothing_in_silence(story):
    story.nats.pause()
    await eventually(lambda: "lost the connection to NATS" in story.edge.log(), within_s=20)
    story.link.drop()
    story.nats.resume()
    await story.meanwhile()
    await story.link.mend()
    assert await story.after() == EXPECTED


async def test_an_edge_whose_cable_was_pulled_misses_nothing_in_silence(story):
    story.link.freeze()
    await story.meanwhile()
    await eventually(lambda: "lost the connection to NATS" in story.edge.log(), within_s=20)
    story.link.drop()
    await story.link.mend()
    assert await story.after() == EXPECTED


async def test_an_edge_that_stood_still_for_a_moment_misses_nothing(story):
    """NATS has not dropped it: everything comes."""
    story.edge.pause()
    async with linked(story.nats.url) as nats:
        for channel in MISSED:
            await story.publish(nats, channel, 2, 3, 4)
    await asyncio.sleep(0)
    story.edge.resume()
    assert await story.after() == dict.fromkeys(MISSED, "came")
