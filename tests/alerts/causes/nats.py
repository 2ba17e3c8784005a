"""Causes at the one NATS server of a stack: it hangs, it dies, it stutters, it permits too little."""

from __future__ import annotations

import asyncio

import httpx
import nats
from nats.js.api import StreamConfig

from tests.alerts.cause import Cause, frozen, killed, nothing
from tests.alerts.load import Crowd, call_much
from tests.alerts.stage import Stage

_FORBIDDING = """
authorization { users: [ { user: "anybody", password: "of no use", permissions: {
  publish: ">", subscribe: { allow: ">", deny: "$JS.EVENT.ADVISORY.>" } } } ] }
no_auth_user: "anybody"
"""


async def _be_slow(stage: Stage) -> None:
    """NATS stands still for 3 s of each 3.3 s, while 1,100 backends publish."""
    await asyncio.gather(stage.stutter("nats", 3, 0.3), call_much(stage, edge=1, callers=1100))


async def _go_on(stage: Stage) -> None:
    stage.thaw("nats")


async def _forbid(stage: Stage) -> None:
    config = stage.checkout.folders.run / "nats.conf"
    config.write_text(config.read_text() + _FORBIDDING)
    await stage.kill("nats")


async def _permit(stage: Stage) -> None:
    config = stage.checkout.folders.run / "nats.conf"
    config.write_text(config.read_text().replace(_FORBIDDING, ""))
    await stage.kill("nats")


async def _hide_more_than_the_history_has(stage: Stage) -> None:
    """An edge hangs, its connection to NATS is cut, and 150 publications go into a channel that keeps 100."""
    crowd = Crowd()
    await crowd.come(stage, edge=2, count=1, channels=("news",))
    stage.freeze("edge-2")
    try:
        await stage.kill("nats")
        url = f"http://127.0.0.1:{stage.edge_port(1)}/api/publish"
        async with httpx.AsyncClient(trust_env=False, headers={"X-API-Key": stage.fairlead.api_key}) as http:
            for number in range(150):
                answer = await http.post(url, json={"channel": "news", "data": number})
                assert "error" not in answer.json(), answer.text
    finally:
        stage.thaw("edge-2")
    try:
        await asyncio.Event().wait()
    finally:
        crowd.leave()


NATS = (
    frozen(
        "nats",
        "NATS hangs while clients publish",
        "NatsDisconnected",
        "EdgeNotReady",
        "NoEdgeReady",
        "PublishesFail",
        "SessionEventsWait",
        lasting=("ErrorBudgetBurnsFast (publish)",),
        besides=("NatsDropsEdge", "BackendFails", "StoreUnanswered", "EdgeLost", "ErrorBudgetBurns (publish)"),
    ),
    Cause(
        "NATS stands still for 3 s of each 3.3 s, and 1,100 backends publish",
        ("PublishesWait", "NatsSlow", "ApiTurnsAway"),
        _be_slow,
        _go_on,
        besides=(
            "PublishesFail",
            "LoopLags",
            "BackendFails",
            "NatsDropsEdge",
            "StoreFull",
            "StreamsUnanswered",
            "SessionEventsWait",
        ),
    ),
    Cause(
        "an edge hangs and loses NATS, while 150 publications go into a channel that keeps 100",
        ("HistoryLost",),
        _hide_more_than_the_history_has,
        nothing,
        besides=("EdgeLost", "EdgeDown", "LoopLags", "PublishesFail", "NatsDropsEdge"),
    ),
    killed("nats", 3, "NATS is killed three times", "NatsDropsEdge", besides=("PublishesFail",)),
    Cause(
        "NATS is restarted without the permission for advisories",
        ("NatsPermissionMissing",),
        _forbid,
        _permit,
        besides=("PublishesFail", "NatsDropsEdge", "EdgeNotReady", "NoEdgeReady"),
    ),
)


async def _lose(stage: Stage, *servers: int) -> None:
    assert stage.surroundings.peers is not None
    for number in servers:
        stage.surroundings.peers.kill(number)


async def _bring_back(stage: Stage) -> None:
    assert stage.surroundings.peers is not None
    for number in (2, 3):
        stage.surroundings.peers.start(number)


async def copy_streams(stage: Stage) -> None:
    """Has NATS keep three copies of every stream, and waits until all are up to date."""
    client = await nats.connect(stage.nats_url)
    stream = client.jetstream()
    for info in await stream.streams_info():
        config: StreamConfig = info.config
        config.num_replicas = 3
        await stream.update_stream(config)
    await client.close()
    few = "min(fairlead_cluster_stream_replicas_current) < 3 or min(fairlead_cluster_stream_replicas) < 3"
    await asyncio.sleep(10)
    while await asyncio.to_thread(stage.prometheus.query, few):
        await asyncio.sleep(1)


async def _lose_one(stage: Stage) -> None:
    await _lose(stage, 3)


async def _lose_two(stage: Stage) -> None:
    await _lose(stage, 2, 3)


_IN_A_CLUSTER = (
    "PublishesFail",
    "NatsSlow",
    "SessionEventsWait",
    "StreamsUnanswered",
    "EdgeNotReady",
    "NoEdgeReady",
    "BackendFails",
)

CLUSTER = (
    Cause(
        "one of three NATS servers is killed",
        ("StreamsBehind",),
        _lose_one,
        _bring_back,
        besides=("StreamsUnanswered", *_IN_A_CLUSTER),
    ),
    Cause(
        "two of three NATS servers are killed",
        ("StreamsUnanswered", "StoreUnanswered"),
        _lose_two,
        _bring_back,
        besides=("StreamsBehind", "StoreFull", *_IN_A_CLUSTER),
    ),
)
