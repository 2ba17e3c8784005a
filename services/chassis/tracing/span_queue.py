"""Spans on their way out: a bounded queue, and a thread that sends them. The event loop never waits for either."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from services.chassis.tracing.span import Span

log = logging.getLogger(__name__)

BATCH: Final = 64
"""Spans in one request. Encoding them holds the interpreter's lock, which the event loop needs, for 2 ms at most."""

GATHER_S: Final = 2.0
"""How long spans wait for others to share their request. A request costs as much as 50 spans: 2 ms."""

STOP_S: Final = 1.0
"""How long the end of a process waits for the last spans. A drain ends after 9.5 s at the latest; 10 s are promised."""

_AWAY: Final = (logging.WARNING, "spans cannot be sent (tracing.endpoint): they are lost, and counted")
_BACK: Final = (logging.INFO, "spans are sent again")


class Exporter(Protocol):
    """Sends spans. Used only in the thread of the queue, except for `stop`."""

    def send(self, spans: Sequence[Span]) -> bool:
        """Sends spans, and blocks meanwhile. Returns False if they are lost."""

    def stop(self) -> None:
        """Makes a `send` that is in progress end soon."""


class SpanQueue:
    """Holds at most `size` spans. `sent`, `dropped` (for lack of room) and `failed` (could not be sent) count spans."""

    def __init__(self, exporter: Exporter, size: int) -> None:
        self._exporter = exporter
        self._size = size
        self._waiting: deque[Span] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._away = False  # the last request failed
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)
        self.sent = 0
        self.dropped = 0
        self.failed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        """Sends spans from now on."""
        self._thread.start()

    def put(self, span: Span) -> None:
        """Takes a span; drops it if there is no room. Called in the event loop."""
        if len(self._waiting) >= self._size:
            self.dropped += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH and not self._wake.is_set():
            self._wake.set()

    async def stop(self, within_s: float = STOP_S) -> None:
        """Sends the waiting spans, and returns when that is done or after `within_s` seconds."""
        if not self._thread.is_alive():
            return
        self._ending = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, within_s)
        if self._thread.is_alive():
            log.warning("%d spans were not sent before the end of the process", len(self._waiting))
            self._exporter.stop()

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending or self._waiting:
            if not self._ending:
                self._wake.wait(GATHER_S)
                self._wake.clear()
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])

    def _send(self, spans: list[Span]) -> None:
        try:
            done = self._exporter.send(spans)
        except Exception:
            log.exception("spans could not be sent")
            done = False
        if done:
            self.sent += len(spans)
        else:
            self.failed += len(spans)
        if self._away is done:
            self._away = not done
            log.log(*(_BACK if done else _AWAY))
