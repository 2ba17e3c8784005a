"""Asks JetStream's API how full it is: one request for the account, and one for every 256 streams."""

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
_TIMEOUT_S: Final = 8.0
"""A cluster waits 4 s for servers that do not answer, and then lists the others."""
_PAGE: Final = 256  # NATS's own
_MAX_PAGES: Final = 40


class _Limits(msgspec.Struct, frozen=True):
    max_storage: int = -1


class _Account(msgspec.Struct, frozen=True):
    storage: int
    limits: _Limits = _Limits()


class _Config(msgspec.Struct, frozen=True):
    name: str
    max_bytes: int = -1
    discard: str = "old"
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
    streams: list[_Info] | None = None
    missing: list[str] | None = None  # streams whose servers did not answer


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
        streams: dict[str, Stream] = {}  # by name, as a stream that is made between two pages shifts the others
        missing: set[str] = set()
        for number in range(_MAX_PAGES):
            query = msgspec.json.encode({"offset": number * _PAGE})
            page = msgspec.json.decode(await self._ask(subjects.STREAM_LIST, query), type=_Page)
            streams |= {info.config.name: _stream(info) for info in page.streams or []}
            missing |= set(page.missing or [])
            if len(page.streams or []) + len(page.missing or []) < _PAGE:
                break
        limit = account.limits.max_storage
        answered = [stream for name, stream in streams.items() if name not in missing]
        return Store(account.storage, limit if limit >= 0 else None, answered, len(missing))

    async def _ask(self, subject: str, data: bytes = b"") -> bytes:
        return (await self._link.request(subject, data, timeout_s=_TIMEOUT_S))[1]


def _stream(info: _Info) -> Stream:
    config, cluster = info.config, info.cluster
    current = 1
    if cluster is not None:
        others = sum(peer.current and not peer.offline for peer in cluster.replicas)
        current = 1 + others if cluster.leader else 0
    limit = config.max_bytes if config.max_bytes > 0 else None
    return Stream(
        config.name,
        info.state.bytes,
        limit,
        info.state.messages,
        config.discard == "new",
        config.num_replicas,
        current,
    )
