"""A plain broadcast in Starlette: a set of WebSockets for each channel and a loop of `send_text`. One process.

`uvicorn perf.systems.starlette_broadcast:app`. This is also what perf calls "a bare Starlette accept".
"""

from __future__ import annotations

from collections import defaultdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

_listeners: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def listen(socket: WebSocket) -> None:
    await socket.accept()
    channel = socket.path_params["channel"]
    _listeners[channel].add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        _listeners[channel].discard(socket)


async def publish(request: Request) -> Response:
    text = (await request.body()).decode()
    for socket in list(_listeners[request.path_params["channel"]]):
        try:
            await socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError):  # it disconnected while others were written to
            continue
    return Response(status_code=204)


app = Starlette(
    routes=[
        WebSocketRoute("/ws/{channel}", listen),
        Route("/publish/{channel}", publish, methods=["POST"]),
    ]
)
