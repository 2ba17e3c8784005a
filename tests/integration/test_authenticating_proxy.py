"""A running edge behind a proxy that says who the user is (`client.user_id_http_header`)."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets

from tests.support.edges import start_edge_in_memory
from tests.support.processes import Services

pytestmark = pytest.mark.integration

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
SETTINGS = {
    "FAIRLEAD_EDGE_TRUSTED_PROXIES": PROXY,
    "FAIRLEAD_CLIENT_USER_ID_HTTP_HEADER": "X-Auth-User",
    "FAIRLEAD_CLIENT_SUBSCRIBE_TO_USER_PERSONAL_CHANNEL": "true",
    "FAIRLEAD_CLIENT_INSECURE": "false",
}


async def answer(url: str, peer: str, user: str) -> dict[str, Any] | int:
    """To a connect that comes from this address with this header: the reply, or the code of the close."""
    host = urlsplit(url)
    connection = socket.create_connection((host.hostname, host.port), source_address=(peer, 0))
    async with websockets.connect(url, additional_headers={"X-Auth-User": user}, sock=connection) as opened:
        await opened.send('{"id":1,"connect":{}}')
        try:
            connect: dict[str, Any] = json.loads(await opened.recv())["connect"]
            return connect
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code


async def test_only_the_proxy_says_who_the_user_is(services: Services) -> None:
    edge = await start_edge_in_memory(services, **SETTINGS).ready()
    by_proxy = await answer(edge.ws_url, PROXY, "alice")
    assert isinstance(by_proxy, dict) and list(by_proxy["subs"]) == ["#alice"]
    assert await answer(edge.ws_url, STRANGER, "alice") == 3501
