"""Asks JetStream's API how full it is: two requests for the account and the names, one for every 256 streams."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink
from services.metrics.store import Store, StoreMetrics, Stream

log = logging.getLogger(__name__)

INTERVAL_S: Final = 10.0
_TIMEOUT_S: Final = 5.0
_MAX_PAGES: Final = 40


class _Limits(msgspec.Struct, frozen=True):
    max_storage: int = -1


class _Account(msgspec.Struct, frozen=True):
    storage: int
    limits: _Limits = _Limits()


class _Config(msgspec.Struct, frozen=True):
    name: str
    max_bytes: int = -1
    num_replicas: int = 1


class _State(msgspec.Struct, frozen=True):
    messages: int = 0
    bytes: int = 0


class _Peer(msgspec.Struct, frozen=True):
    current: bool = False
    offline: bool = False


class _Cluster(msgspec.Struct, frozen=True):
    leader: str = ""
    replicas: list[_Peer] = []


class _Info(msgspec.Struct, frozen=True):
    config: _Config
    state: _State
    cluster: _Cluster | None = None


class _Page(msgspec.Struct, frozen=True):
    total: int = 0
    streams: list[_Info] | None = None


class _Names(msgspec.Struct, frozen=True):
    total: int = 0


class StoreWatch:
    """Keeps `metrics` up to date."""

    def __init__(self, link: NatsLink, metrics: StoreMetrics) -> None:
        self._link = link
        self._metrics = metrics

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            try:
                self._metrics.seen(await self._look())
            except (NatsAway, msgspec.DecodeError) as error:
                log.debug("JetStream does not say how full it is: %s", error)
                self._metrics.seen(None)
            await asyncio.sleep(INTERVAL_S)

    async def _look(self) -> Store:
        account = msgspec.json.decode(await self._ask(subjects.ACCOUNT_INFO), type=_Account)
        names = msgspec.json.decode(await self._ask(subjects.STREAM_NAMES), type=_Names)
        infos: list[_Info] = []
        for _ in range(_MAX_PAGES):
            query = msgspec.json.encode({"offset": len(infos)})
            page = msgspec.json.decode(await self._ask(subjects.STREAM_LIST, query), type=_Page)
            infos += page.streams or []
            if not page.streams or len(infos) >= page.total:
                break
        limit = account.limits.max_storage
        return Store(
            account.storage,
            limit if limit >= 0 else None,
            [_stream(info) for info in infos],
            max(0, names.total - len(infos)),
        )

    async def _ask(self, subject: str, data: bytes = b"") -> bytes:
        return (await self._link.request(subject, data, timeout_s=_TIMEOUT_S))[1]


def _stream(info: _Info) -> Stream:
    config, cluster = info.config, info.cluster
    current = 1
    if cluster is not None:
        others = sum(peer.current and not peer.offline for peer in cluster.replicas)
        current = 1 + others if cluster.leader else 0
    limit = config.max_bytes if config.max_bytes > 0 else None
    return Stream(config.name, info.state.bytes, limit, info.state.messages, config.num_replicas, current)
