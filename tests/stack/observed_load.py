"""A load of clients and backends on an observed stack, so that every picture and rule has data."""

from __future__ import annotations

import asyncio

import centrifuge
import pytest

from tests.alerts.surroundings import METHOD, EchoBackend
from tests.stack.checkout import Checkout
from tests.stack.fairlead import Fairlead
from tests.support.plain_http import http_client

SETTINGS = {
    "FAIRLEAD_CLIENT_ALLOWED_ORIGINS": "https://here.example",
    "FAIRLEAD_LIMITS_ADDRESS_EMULATIONS": "1/60s",
}
"""Settings of the stack, so that one origin and one limit refuse."""


async def talk(checkout: Checkout) -> None:
    """Clients on both edges publish, come and go, come back, and make mistakes, until this is cancelled."""
    fairlead, backend = checkout.fairlead(), EchoBackend()
    await backend.come(f"nats://127.0.0.1:{checkout.ports['NATS_PORT']}")
    try:
        async with fairlead.client("alice") as alice, fairlead.client("bob") as bob, fairlead.client("dave") as dave:
            await alice.join("chat:lobby")
            await dave.join("chat:lobby")
            await bob.join("news")
            with pytest.raises(centrifuge.ReplyError):
                await bob.publish("only backends may")
            while True:
                async with fairlead.client("carol") as carol:
                    await carol.join("chat:lobby")
                    await alice.publish("hello")
                    await fairlead.call("publish", channel="chat:lobby", data="hello")
                await fairlead.call("disconnect", user="dave", disconnect={"code": 3000, "reason": "come back"})
                await _ask_others(fairlead)
                await asyncio.sleep(0.2)
    finally:
        await backend.leave()


async def _ask_others(fairlead: Fairlead) -> None:
    """An RPC that a backend answers, one that none answers, a page of another origin, and too many emulations."""
    address = f"http://127.0.0.1:{fairlead.port}"
    async with http_client() as http:
        for method in (METHOD, "nobody"):
            body = {"method": method, "data": {}}
            await http.post(f"{address}/api/rpc", headers={"X-API-Key": fairlead.api_key}, json=body)
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "c29tZXRoaW5nIHJhbmRvbQ==",
            "Origin": "https://elsewhere.example",
        }
        assert (await http.get(f"{address}/connection/websocket", headers=upgrade)).status_code == 403
        for _ in range(2):
            await http.post(f"{address}/emulation", json={})
