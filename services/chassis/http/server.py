"""uvicorn, with a goodbye of our own before uvicorn's.

On SIGTERM or SIGINT uvicorn alone would at once close every WebSocket with 1012 and then end by the signal. Here the
first signal starts the service's goodbye (an edge drains its clients), uvicorn shuts down when that is done, and the
process exits 0. A second SIGINT gives up waiting.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from services.chassis.http.sockets import SocketHttpProtocol
from services.chassis.process.resources import raise_descriptor_limit

log = logging.getLogger(__name__)

Goodbye = Callable[[], Awaitable[None]]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, goodbye: Goodbye, second_port: int) -> None:
        super().__init__(config)
        self._goodbye = goodbye
        self._second_port = second_port
        self._leaving: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self._second_port:
            try:
                self.servers.append(await self._listen_too())
            except OSError as error:
                log.error("%s", error)
                await self.lifespan.shutdown()
                sys.exit(STARTUP_FAILURE)

    async def _listen_too(self) -> asyncio.Server:
        config = self.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it: HTTP protocols take these
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        loop = asyncio.get_running_loop()
        return await loop.create_server(protocol, config.host, self._second_port, backlog=config.backlog)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own would remember the signal and raise it again at the end: we mean to exit 0.
        assert self._loop is not None
        if self._leaving is not None and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self._leave, signal.Signals(sig).name)

    def _leave(self, name: str) -> None:
        if self._leaving is None:
            log.info("%s received, stopping", name)
            self._leaving = asyncio.get_running_loop().create_task(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        try:
            await self._goodbye()
        except Exception:
            log.exception("the goodbye failed; stopping all the same")
        self.should_exit = True


async def _no_goodbye() -> None:
    return None


def run(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    second_port: int = 0,
    ws: Any = "none",
    goodbye: Goodbye = _no_goodbye,
) -> None:
    """Serves `app` until a signal, then says `goodbye`. Exits the process with 3 when a port cannot be bound.

    `second_port` serves the same application; 0 for none. A request says in its scope where it came in ("server").
    `ws` is the protocol class for WebSocket upgrades, "none" for a service that has none. Uses uvloop.
    """
    raise_descriptor_limit()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=SocketHttpProtocol,
        ws=ws,
        log_config=None,
        access_log=False,
        lifespan="on",
        backlog=4096,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    # What there is by now stays to the end: left out of every collection, which stops the loop for 25 ms less.
    gc.freeze()
    gc.enable()
    _Server(config, goodbye, second_port).run()
