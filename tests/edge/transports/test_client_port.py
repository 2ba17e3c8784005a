"""Which paths are answered on which port."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.transports.client_port import ClientPort

PORT, CLIENT_PORT = 8101, 8151


async def status_of(path: str, port: int, kind: str = "http") -> int:
    """The status of a request for the path on the port: 200 when the application behind it got it."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "server": ("127.0.0.1", port), "method": "GET", "headers": []}
    await ClientPort(app, CLIENT_PORT)(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "path", ["/connection/websocket", "/connection/sse", "/connection/init", "/emulation", "/readyz"]
)
async def test_clients_and_the_balancer_are_answered_on_both(path: str) -> None:
    assert await status_of(path, PORT) == await status_of(path, CLIENT_PORT) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/livez",
        "/api",
        "/api/publish",
        "/",
        "",
        "/connection",
        "/CONNECTION/sse",
        "/emulation/",
        "//metrics",
    ],
)
async def test_only_paths_for_clients_are_served(path: str) -> None:
    assert await status_of(path, PORT) == 200
    assert await status_of(path, CLIENT_PORT) == 404


async def test_the_lifespan_of_the_application_is_none_of_its_business() -> None:
    assert await status_of("/metrics", CLIENT_PORT, kind="lifespan") == 200
