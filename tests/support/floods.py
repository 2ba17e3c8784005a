"""More publications than a client that does not read can take."""

from __future__ import annotations

from tests.support.edges import API_KEY
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess

PAYLOAD = "x" * 100_000
ENOUGH = 120  # 12 MB: more than the socket buffers of both sides take


async def flood(edge: ServiceProcess, channel: str, count: int = ENOUGH) -> None:
    """Publishes [0, PAYLOAD], [1, PAYLOAD], ... one after the other."""
    async with http_client(headers={"X-API-Key": API_KEY}) as http:
        for number in range(count):
            answer = await http.post(f"{edge.url}/api/publish", json={"channel": channel, "data": [number, PAYLOAD]})
            assert "result" in answer.json()
