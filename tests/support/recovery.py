"""Edges on a log of one partition, and the recovery of a client that comes back to a position there."""

from __future__ import annotations

from typing import Any

from nats.js import JetStreamManager

from tests.support.edges import API_KEY, FAST_GOODBYE, SECRET, api, connected
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer

TOML = """
[channel]
history_partitions = 1
[[channel.namespaces]]
name = "chat"
history_size = {size}
history_ttl = "{ttl}"
force_recovery = true
allow_subscribe_for_client = true
"""


async def edge_of(
    services: Services, nats: NatsServer, name: str, size: int = 10, ttl: str = "1h", toml: str = ""
) -> ServiceProcess:
    settings = {
        "FAIRLEAD_NATS_URL": nats.url,
        "FAIRLEAD_EDGE_NAME": name,
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "FAIRLEAD_HTTP_API_KEY": API_KEY,
        **FAST_GOODBYE,
    }
    edge = await services.start("edge", settings, toml or TOML.format(size=size, ttl=ttl), name).ready()
    async with linked(nats.url) as link:
        await eventually(lambda: _indexes(link.stream_manager()))
    return edge


async def _indexes(manager: JetStreamManager) -> bool:
    """Whether the log has an index that has begun: it begins within a second of the first start of an edge."""
    streams = await manager.streams_info()
    return any(str(each.config.name).startswith("IDX_") and each.state.messages > 1 for each in streams)


async def publish(edge: ServiceProcess, channel: str, *values: Any) -> int:
    """Publishes one after the other; the offset of the last one."""
    for value in values:
        reply = await api(edge, "publish", {"channel": channel, "data": value})
    offset: int = reply.json()["result"]["offset"]
    return offset


async def position(edge: ServiceProcess, channel: str) -> dict[str, Any]:
    """Where a client that subscribes to the channel stands."""
    async with connected(edge) as client:
        result = await client.subscribe(channel)
        return {"epoch": result["epoch"], "offset": result.get("offset", 0)}


async def recovered(edge: ServiceProcess, channel: str, since: dict[str, Any]) -> list[Any] | None:
    """The data that a client gets when it comes back to the channel; None if it is told that something is missing."""
    async with connected(edge) as client:
        result = await client.subscribe(channel, recover=True, **since)
        return [pub["data"] for pub in result.get("publications", [])] if result.get("recovered") else None


async def expired(edge: ServiceProcess, channel: str) -> None:
    """Waits until no publication of the channel is retained."""

    async def gone() -> bool:
        reply = await api(edge, "history", {"channel": channel, "limit": -1})
        return not reply.json()["result"]["publications"]

    await eventually(gone)
