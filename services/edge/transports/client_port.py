"""What an edge serves on `edge.client_port`: clients, and the readiness check.

A balancer that passes TCP through (layer 4) cannot restrict the paths that the outside may reach. On this port the edge
does: no server API, no metrics. WebSocket upgrades do not come through here; `websocket` checks their paths.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.chassis.http.health import READY_PATH
from services.edge.transports.emulation import EMULATION_PATH

CONNECTION_PREFIX: Final = "/connection/"


class ClientPort:
    """Passes requests on to `app`, except those that came in on `port` and are not for clients."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["server"][1] == self._port and not _for_clients(scope["path"]):
            await PlainTextResponse("this port is for clients\n", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _for_clients(path: str) -> bool:
    return path.startswith(CONNECTION_PREFIX) or path in (EMULATION_PATH, READY_PATH)
