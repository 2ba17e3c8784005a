"""uvicorn, with a shutdown of the service's own before uvicorn's.

On SIGTERM or SIGINT uvicorn alone closes every WebSocket with 1012 at once and then lets the signal end the process.
Here the first signal starts the service's shutdown (an edge drains its clients); then uvicorn shuts down, and the
process exits with 0, or with 1 if it stops because a vital task failed. A second SIGINT gives up waiting.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from services.chassis.http.client_address import Proxies
from services.chassis.http.limits import MAX_HEAD_BYTES
from services.chassis.http.sockets import SocketHttpProtocol
from services.chassis.process.hangup import HANGUP
from services.chassis.process.resources import raise_descriptor_limit
from services.chassis.process.settings_errors import variable_name
from services.chassis.process.tasks import exit_code

log = logging.getLogger(__name__)

Shutdown = Callable[[], Awaitable[None]]
"""The service's own shutdown, run while the server still serves."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, before_shutdown: Shutdown, hung_up: Callable[[], None]) -> None:
        super().__init__(config)
        self._hung_up = hung_up
        self._before_shutdown = before_shutdown
        self._stopping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        if HANGUP.take():  # it came while the process started
            self._hung_up()
        try:
            await super().serve(sockets)
        finally:
            self._loop.remove_signal_handler(signal.SIGHUP)
            HANGUP.ignore()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own method remembers the signal and raises it again at the end, but we exit with 0.
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


def _reload_nothing() -> None:
    log.info("SIGHUP received: there is nothing to reload")


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of `host`, bound but not listening yet. Raises OSError."""
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(
            socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
            listener.bind(address)
    except OSError:
        for listener in bound:
            listener.close()
        raise
    return bound


def _why_unbound(error: OSError | UnicodeError, key: str, port: int) -> str:
    """Why a port cannot be bound, and what to do about it, with the setting's key and its variable."""
    host_key = f"{key.partition('.')[0]}.host"
    port_keys, host_keys = (f"{each}, {variable_name(each)}" for each in (key, host_key))
    number = getattr(error, "errno", None)
    why = (getattr(error, "strerror", None) or str(error)).lower()
    if number == errno.EADDRINUSE:
        return f"{why}; find out by whom with `ss -ltnp 'sport = :{port}'`, or choose another port ({port_keys})"
    if number == errno.EACCES:
        return f"{why}; choose a port from 1024 on ({port_keys}), or permit this one to the process"
    if isinstance(error, UnicodeError | socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return f"{why}; expected an address of this machine ({host_keys})"
    return f"{why}; choose another host or port ({port_keys}; {host_keys})"


def _bind_all(host: str, ports: Mapping[str, int]) -> list[socket.socket]:
    """Exits the process with 3 if a port cannot be bound."""
    bound: list[socket.socket] = []
    for key, port in ports.items():
        try:
            bound += bind(host, port)
        except (OSError, UnicodeError) as error:
            log.error("cannot listen on %s:%d: %s", host, port, _why_unbound(error, key, port))
            sys.exit(STARTUP_FAILURE)
    return bound


def run(
    app: ASGIApp,
    *,
    host: str,
    ports: Mapping[str, int],
    ws: Any = "none",
    before_shutdown: Shutdown = _nothing,
    hung_up: Callable[[], None] = _reload_nothing,
    max_head_bytes: int = MAX_HEAD_BYTES,
    proxies: Proxies | None = None,
    proxy_protocol_port: int = 0,
    room: Callable[[], int] | None = None,
    turned_away: Callable[[str], None] | None = None,
    pipelined: Callable[[str], None] | None = None,
    gc_thresholds: Sequence[int] = (),
) -> None:
    """Serves `app` on uvloop until a signal, then awaits `before_shutdown` and stops. SIGHUP calls `hung_up` meanwhile.

    Exits the process with 1 if a vital task has failed meanwhile. uvicorn exits it with 3 if `app` cannot start.

    `ports` has a port for each configuration key, such as `{"edge.port": 8101}`. All of them are bound before `app`
    starts; if one cannot be, the process exits with 3 and the reason names its key. All serve the same application; a
    request has its port in its scope ("server"). `ws` is the protocol class for WebSocket upgrades, or "none".
    `gc_thresholds` are the arguments of `gc.set_threshold`; if empty, Python's own apply.
    """

    class Protocol(SocketHttpProtocol):
        pass

    Protocol.max_head_bytes = max_head_bytes
    Protocol.proxies, Protocol.proxy_protocol_port = proxies, proxy_protocol_port
    if room is not None:
        Protocol.room = staticmethod(room)
    if turned_away is not None:
        Protocol.turned_away = staticmethod(turned_away)
    if pipelined is not None:
        Protocol.pipelined = staticmethod(pipelined)
    raise_descriptor_limit()
    sockets = _bind_all(host, ports)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws=ws,
        log_config=None,
        access_log=False,
        lifespan="on",
        backlog=4096,
        server_header=False,
        proxy_headers=False,  # uvicorn would trust X-Forwarded-For from 127.0.0.1, and on WebSockets from nobody
        timeout_graceful_shutdown=1,
    )
    # All objects made so far live as long as the process. Garbage collections skip them, and block the loop for 25 ms
    # less.
    gc.freeze()
    if gc_thresholds:
        gc.set_threshold(*gc_thresholds)
    gc.enable()
    _Server(config, before_shutdown, hung_up).run(sockets)
    if code := exit_code():
        sys.exit(code)
