"""Causes at what JetStream stores on a small disk: it is full, or soon will be."""

from __future__ import annotations

import asyncio

import httpx
import nats

from proto import subjects
from tests.alerts.cause import Cause
from tests.alerts.stage import Stage

STRICT = """
[[channel.namespaces]]
name = "strict"
history_size = 1000
history_ttl = "1h"
history_max_bytes = 8_000_000
history_when_full = "refuse"
"""
"""A namespace that refuses when it is full, for the end of a configuration."""

ACCOUNT_BYTES = 480_000_000
ACCOUNT = f"""
accounts {{ FAIRLEAD {{
  jetstream {{ max_mem: 64MB, max_file: {ACCOUNT_BYTES}, max_streams: -1, max_consumers: -1 }}
  users: [ {{ user: "anybody", password: "of no use" }} ] }} }}
no_auth_user: "anybody"
"""
"""Limits of the account, for the end of the configuration of NATS."""

_OTHERS = "OTHERS"
_CHANNELS = 64
"""So many that each stream of a namespace has some of them."""


async def _fill_the_disk(stage: Stage) -> None:
    assert stage.surroundings.disk is not None
    stage.surroundings.disk.fill()


async def _make_room_and_publish(stage: Stage) -> None:
    """Room, and NATS restarted, which does not write again before. Then so many good publishes that the bad ones
    are no part of them that counts."""
    assert stage.surroundings.disk is not None
    stage.surroundings.disk.make_room()
    await stage.kill("nats")
    channels = [f"live:{number}" for number in range(1000)]
    async with httpx.AsyncClient(trust_env=False, headers={"X-API-Key": stage.fairlead.api_key}, timeout=20) as http:
        url = f"http://127.0.0.1:{stage.edge_port(1)}/api/broadcast"
        for _ in range(200):
            await http.post(url, json={"channels": channels, "data": "hello"})
            await asyncio.sleep(0.05)


async def _fill_the_account(stage: Stage) -> None:
    """A stream of another application in the same account takes all that the account may store."""
    client = await nats.connect(stage.nats_url)
    await client.jetstream().add_stream(name=_OTHERS, subjects=[f"{_OTHERS}.>"])
    await client.close()
    await _fill(stage, [f"{_OTHERS}.data"], count=ACCOUNT_BYTES // 900_000, size=900_000)
    await _fill(stage, [f"{_OTHERS}.data"], count=1000, size=1_000)


async def _delete_that_stream(stage: Stage) -> None:
    client = await nats.connect(stage.nats_url)
    await client.jetstream().delete_stream(_OTHERS)
    await client.close()


async def _fill_the_strict_namespace(stage: Stage) -> None:
    channels = [subjects.log_address("strict", 4, f"strict:{n}").stored for n in range(_CHANNELS)]
    await _fill(stage, channels, count=200, size=50_000)


async def _fill(stage: Stage, into: list[str], count: int, size: int) -> None:
    """Stores so many messages of so many bytes."""
    client = await nats.connect(stage.nats_url)
    stream, data = client.jetstream(), b'"' + b"x" * size + b'"'
    for number in range(count):
        try:
            await stream.publish(into[number % len(into)], data, timeout=5)
        except nats.js.errors.APIError:  # that one is full
            continue
    await client.close()


async def _empty_the_namespace(stage: Stage) -> None:
    client = await nats.connect(stage.nats_url)
    stream = client.jetstream()
    for info in await stream.streams_info():
        name = info.config.name or ""
        if name.startswith("CH_strict"):
            await stream.purge_stream(name)
    await client.close()


FULL_DISK = Cause(
    "the disk of NATS is full",
    (
        "StoreUnanswered",
        "StreamsUnanswered",
        "PublishesFail",
        "SessionEventsWait",
        "ErrorBudgetBurnsFast (publish)",
        "ErrorBudgetBurns (publish)",
    ),
    _fill_the_disk,
    _make_room_and_publish,
    besides=("NatsSlow", "ProjectionLate", "BackendFails", "NatsDropsEdge"),
)

STORE = (
    FULL_DISK,
    Cause(
        "a namespace that refuses is filled",
        ("StreamNearlyFull",),
        _fill_the_strict_namespace,
        _empty_the_namespace,
        besides=("PublishesFail",),
    ),
    Cause(
        "another application fills the account of NATS",
        ("StoreNearlyFull", "StoreFull"),
        _fill_the_account,
        _delete_that_stream,
        besides=(
            "PublishesFail",
            "SessionEventsWait",
            "ErrorBudgetBurnsFast (publish)",
            "ErrorBudgetBurns (publish)",
            "NatsSlow",
        ),
    ),
)
