"""Keeps Traefik running, and lets clients reach it only while it has its routes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from deploy.traefik.gate import Gate
from deploy.traefik.standin import StandIn

log = logging.getLogger(__name__)

_POLL_S: Final = 0.02
_ASK_S: Final = 1.0
_RESTART_S: Final = (0.1, 2.0)  # first and longest pause between two starts
_STEADY_S: Final = 10.0
"""A Traefik that has run this long is restarted with the shortest pause."""
_SAY_S: Final = (5.0, 60.0)
"""How long Traefik may have no routes before that is logged, and until it is logged again."""

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class NeverReady(Exception):
    """Traefik has ended before it ever had its routes: its configuration has a mistake."""


class Keeper:
    """Runs `command`, and restarts it whenever it ends. `ready_url` answers 200 once Traefik has its routes."""

    def __init__(self, command: Sequence[str], gates: Sequence[Gate], ready_url: str) -> None:
        self._command = command
        self._gates = gates
        self._ready_url = ready_url
        self._process: asyncio.subprocess.Process | None = None
        self._opening: asyncio.Future[None] | None = None
        self._was_ready = False
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Returns Traefik's exit code, once `stop` was called. Raises `NeverReady`, OSError."""
        stand_in, loop = StandIn(), asyncio.get_running_loop()
        servers = [await loop.create_server(stand_in.answer, sock=gate.socket) for gate in self._gates]
        try:
            return await self._keep()
        finally:
            for server in servers:
                server.close()
            stand_in.close()

    def stop(self) -> None:
        """Tells Traefik to end. It finishes what it has accepted; new clients get 503."""
        self._stopping.set()
        self._close_gates()
        if self._opening is not None:  # if Traefik has accepted its request, that would delay Traefik's end by 10 s
            self._opening.cancel()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    async def _keep(self) -> int:
        loop = asyncio.get_running_loop()
        pause, longest = _RESTART_S
        while True:
            began = loop.time()
            code = await self._run_once()
            if self._stopping.is_set():
                return code
            if not self._was_ready:
                raise NeverReady(f"Traefik has ended with exit code {code} before it had its routes")
            if loop.time() - began >= _STEADY_S:
                pause = _RESTART_S[0]
            log.error("Traefik has ended (exit code %d): starting it again in %.1f s", code, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return code
            pause = min(2 * pause, longest)

    async def _run_once(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(*self._command, preexec_fn=_end_with_parent)
        self._opening = opening = asyncio.ensure_future(self._open_when_ready())
        if self._stopping.is_set():  # `stop` was called before there was a process
            self.stop()
        try:
            return await process.wait()
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            self._close_gates()

    def _close_gates(self) -> None:
        for gate in self._gates:
            gate.close()

    async def _open_when_ready(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        say_at = began + _SAY_S[0]
        while not await _answers(self._ready_url):
            if loop.time() >= say_at:
                say_at = loop.time() + _SAY_S[1]
                log.warning(
                    "Traefik has had no routes for %d s, and clients get 503: its own log lines say what it cannot "
                    "read, or %s is not one of its routes",
                    loop.time() - began,
                    self._ready_url,
                )
            await asyncio.sleep(_POLL_S)
        # Traefik changes the routes of one port after the other, within a fraction of a millisecond.
        await asyncio.sleep(_POLL_S)
        if self._stopping.is_set():
            return
        for gate in self._gates:
            gate.open()
        if self._was_ready:
            log.info("Traefik has its routes again")
        self._was_ready = True


async def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _end_with_parent() -> None:
    """Runs in the new process, which is killed when its keeper dies: a Traefik left alone would hold the port of the
    next one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
