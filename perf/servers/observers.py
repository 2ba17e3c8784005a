"""The observers of an edge in production: a Prometheus that reads its page, and a collector that takes its spans."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from deploy.processes.ports import HOST
from perf.servers import metrics
from perf.servers.edge import OwnEdge

SCRAPED_EVERY_S: Final = 5.0
"""The same as in `deploy/observe/prometheus.yml`."""


@contextlib.asynccontextmanager
async def scraped(edges: Sequence[OwnEdge]) -> AsyncIterator[None]:
    """Reads the pages of all edges again and again, until the end of the block."""
    task = asyncio.create_task(_scrape(edges))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _scrape(edges: Sequence[OwnEdge]) -> None:
    while True:
        await asyncio.gather(*(asyncio.to_thread(metrics.page, edge.port) for edge in edges))
        await asyncio.sleep(SCRAPED_EVERY_S)


@dataclass
class Collector:
    """Takes OTLP over HTTP at `endpoint`, and counts what came."""

    endpoint: str
    requests: int = 0
    size: int = 0  # bytes


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port, in a thread of this process."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.size += len(self.rfile.read(int(self.headers["content-length"])))
            taken.requests += 1
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return None

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        taken = Collector(f"http://{HOST}:{server.server_address[1]}/v1/traces")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield taken
        finally:
            server.shutdown()
            thread.join()
