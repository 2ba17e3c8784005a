"""The largest memory of an edge during a block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from perf.servers.edge import OwnEdge

_SAMPLE_S = 0.05


class Peak:
    """`rss_bytes` is the largest so far."""

    def __init__(self) -> None:
        self.rss_bytes = 0

    async def watch(self, edge: OwnEdge) -> None:
        while True:
            self.rss_bytes = max(self.rss_bytes, edge.usage()[0])
            await asyncio.sleep(_SAMPLE_S)


@contextlib.asynccontextmanager
async def watched(edge: OwnEdge) -> AsyncIterator[Peak]:
    peak = Peak()
    watching = asyncio.create_task(peak.watch(edge))
    try:
        yield peak
    finally:
        watching.cancel()
        await asyncio.wait([watching])
