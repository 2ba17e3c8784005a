"""Backup, restore, publish on, resume: never `recovered: true` with something missing, on whichever edge."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.edges import api, connected
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess

pytestmark = pytest.mark.integration


async def ready(*edges: ServiceProcess) -> bool:
    async with http_client() as http:
        return all([(await http.get(f"{edge.url}/readyz")).status_code == 200 for edge in edges])


async def publish(edge: ServiceProcess, values: range) -> int:
    """Publishes them; the offset of the last one."""
    for value in values:
        answer = (await api(edge, "publish", {"channel": "chat:x", "data": value})).json()
        assert "result" in answer, answer
    return int(answer["result"]["offset"])


async def publish_past(edge: ServiceProcess, offset: int, first: int) -> list[int]:
    """Publishes `first` and what follows it until an offset is past `offset`; the values published.

    How many that takes is not known: the marks of edges take numbers of the stream too.
    """
    values = [first]
    while await publish(edge, range(values[-1], values[-1] + 1)) <= offset:
        values.append(values[-1] + 1)
    return values


async def resume(edge: ServiceProcess, since: dict[str, Any]) -> dict[str, Any]:
    async with connected(edge) as client:
        return await client.subscribe("chat:x", recover=True, **since)


@pytest.mark.parametrize("restarted", [False, True], ids=["edges that stay", "edges that were restarted"])
async def test_nobody_is_told_that_all_is_well_after_an_older_copy_was_restored(pair, nats_server, restarted):
    watched, idle = pair
    async with connected(watched) as reader:
        start = await reader.subscribe("chat:x")
        kept = await publish(watched, range(5))
        nats_server.stop()
        await eventually(lambda: _not(ready(watched)))
        nats_server.back_up()
        nats_server.start()
        await eventually(lambda: ready(*pair))
        lost = await publish(watched, range(5, 10))
        assert await reader.publications("chat:x", 10) == list(range(10))
    if restarted:
        for edge in pair:
            assert await edge.stop() == 0
    nats_server.stop()
    nats_server.restore()
    nats_server.start()
    for edge in pair:
        if restarted:
            edge.start()
        await edge.ready()
    await eventually(lambda: ready(*pair))
    written_after = await publish_past(idle, lost, first=100)
    for edge in pair:
        back = await resume(edge, {"epoch": start["epoch"], "offset": lost})
        assert not back.get("recovered"), f"{edge.name}: publications from 100 on are missing"
        before = await resume(edge, {"epoch": start["epoch"], "offset": kept})
        if before.get("recovered"):
            assert [pub["data"] for pub in before["publications"]] == written_after
        assert bool(before.get("recovered")) == restarted, "nobody knows how far a log fell that was seen falling"
        fresh = await resume(edge, {"epoch": before["epoch"], "offset": before["offset"]})
        assert fresh["recovered"]


async def _not(answer: Any) -> bool:
    return not await answer


async def test_a_restart_of_everything_without_a_restore_loses_no_position(pair, nats_server):
    edge, other = pair
    async with connected(edge) as reader:
        start = await reader.subscribe("chat:x")
    first = await publish(edge, range(3))
    for each in pair:
        assert await each.stop() == 0
    nats_server.stop()
    nats_server.start()
    for each in pair:
        each.start()
        await each.ready()
    await publish(other, range(3, 6))
    for each in pair:
        back = await resume(each, {"epoch": start["epoch"], "offset": first})
        assert back["recovered"] and [pub["data"] for pub in back["publications"]] == [3, 4, 5]
        again = await resume(each, {"epoch": back["epoch"], "offset": back["publications"][-1]["offset"]})
        assert again["recovered"] and again["epoch"] == back["epoch"]
