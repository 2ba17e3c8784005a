"""What fails on a running edge moves a series on its page: the outages that nobody saw before."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import websockets
from websockets.typing import Origin

from tests.support.edges import api, connected, start_edge
from tests.support.metrics import metric, reaches
from tests.support.servers_native import NativeNats

pytestmark = pytest.mark.integration


@pytest.mark.native
async def test_a_full_disk_of_nats(services, tmp_path):
    """Of a native NATS, whatever TEST_BACKEND is."""
    server = NativeNats(tmp_path / "nats")
    try:
        server.start()
        edge = await start_edge(services, server, "edge-a").ready()
        body = {"channel": "chat:x", "data": 1}
        assert "result" in (await api(edge, "publish", body)).json()
        server.break_disk()
        async with connected(edge) as client:
            await client.subscribe("chat:x")

            async def published() -> list[httpx.Response]:
                return [await api(edge, "publish", body) for _ in range(2)]

            publishing = asyncio.create_task(published())
            assert (await client.ask(publish=body))["error"]["code"] == 100
            assert [each.json()["error"]["code"] for each in await publishing] == [100, 100]
            failed = [
                await metric(edge, f'publishes_failed_total{{cause="{cause}"}}') for cause in ("timeout", "storage")
            ]
            assert sum(failed) == 3
            assert await metric(edge, 'api_calls_total{code="100",method="publish"}') == 2
            assert await metric(edge, 'publish_ack_seconds_bucket{le="+Inf"}') == 1
            assert await reaches(edge, "session_events_oldest_seconds", 4), "of its connect"
            assert await metric(edge, "ready") == 1, "which is why the series are needed"
    finally:
        server.close()


async def test_refused_clients_calls_without_the_key_and_absent_backends(edge):
    with pytest.raises(websockets.InvalidStatus):
        async with websockets.connect(edge.ws_url, origin=Origin("https://other.example")):
            pass
    assert await metric(edge, 'upgrades_refused_total{cause="origin"}') == 1
    assert (await api(edge, "publish", {}, key="wrong")).status_code == 401
    assert await metric(edge, 'api_calls_total{code="401",method="publish"}') == 1
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"POST /api/info HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * 1000)
    assert b"429 Too Many Requests" in await reader.read()
    writer.close()
    assert await metric(edge, 'api_calls_total{code="429",method="info"}') == 1
    async with connected(edge) as client:
        assert (await client.ask(subscribe={"channel": "hooked:x"}))["error"]["code"] == 100
        assert (await client.ask(rpc={"method": "nobody"}))["error"]["code"] == 108
    for call in ("hook.subscribe", "rpc"):
        labels = f'{{backend="nats",call="{call}",cause="no_responders"}}'
        assert await metric(edge, f"backend_failures_total{labels}") == 1
