"""uvicorn, with a shutdown of the service's own before uvicorn's.

On SIGTERM or SIGINT uvicorn alone closes every WebSocket with 1012 at once and then lets the signal end the process.
Here the first signal starts the service's shutdown (an edge drains its clients); then uvicorn shuts down, and the
process exits with 0. A second SIGINT gives up waiting.
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

Shutdown = Callable[[], Awaitable[None]]
"""The service's own shutdown, run while the server still serves."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, before_shutdown: Shutdown, second_port: int) -> None:
        super().__init__(config)
        self._before_shutdown = before_shutdown
        self._second_port = second_port
        self._stopping: asyncio.Task[None] | None = None
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
        # uvicorn's own remembers the signal and raises it again at the end, but we exit with 0.
        assert self._loop is not None
        if self._stopping is not None and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self._stop, signal.Signals(sig).name)

    def _stop(self, name: str) -> None:
        if self._stopping is None:
            log.info("%s received, stopping", name)
            self._stopping = asyncio.get_running_loop().create_task(self._shut_down())

    async def _shut_down(self) -> None:
        try:
            await self._before_shutdown()
        except Exception:
            log.exception("the service's shutdown failed; stopping anyway")
        self.should_exit = True


async def _nothing() -> None:
    return None


def run(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    second_port: int = 0,
    ws: Any = "none",
    before_shutdown: Shutdown = _nothing,
) -> None:
    """Serves `app` on uvloop until a signal, then awaits `before_shutdown` and stops.

    Exits the process with 3 if a port cannot be bound. `second_port` serves the same application, 0 for none; a request
    has its port in its scope ("server"). `ws` is the protocol class for WebSocket upgrades, or "none".
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
    # All objects made so far live as long as the process. Collections skip them, and stop the loop for 25 ms less.
    gc.freeze()
    gc.enable()
    _Server(config, before_shutdown, second_port).run()
