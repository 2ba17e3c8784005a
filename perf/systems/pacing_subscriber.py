"""One subscriber in the process that publishes, so that publishing keeps pace with delivery.

Without it, a system that answers a publish before it delivers would get publications faster than it can deliver them,
and the result would show how it fails instead of what it can do.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from perf.load import frames
from perf.load.delivery_counter import DeliveryCounter
from perf.load.dialects import Dialect
from perf.load.target import Target, authority
from perf.load.wire_client import WireClient

OPEN_WITHIN_S = 15.0


class PacingSubscriber:
    """`async with PacingSubscriber(...) as subscriber:` it listens, and `received` counts messages from then on."""

    def __init__(self, target: Target, dialect: Dialect, channel: str) -> None:
        self._target = target
        self._dialect = replace(dialect, channel=channel)
        self._channel = channel
        self._counter = DeliveryCounter(every=0)
        self._changed = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self._client: WireClient | None = None

    async def __aenter__(self) -> PacingSubscriber:
        """Raises OSError, TimeoutError, and ConnectionError with the server's answer."""
        opening = self._dialect.opening(0)
        host, port = self._target.host, self._target.port
        request = frames.upgrade_request(authority(host, port), opening.path, opening.headers)
        self._client = client = _Client(self, self._counter, self._dialect, 0, request, opening, 0.0)
        client.changed = self._changed
        await asyncio.get_running_loop().create_connection(lambda: client, host, port)
        try:
            await asyncio.wait_for(self._opened, OPEN_WITHIN_S)
        except BaseException:
            client.fail("")
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        self._client.fail("")
        await self._closed.wait()

    @property
    def received(self) -> int:
        return self._counter.deliveries.messages

    def publish(self, payload: bytes) -> None:
        """Publishes over its own socket."""
        assert self._client is not None
        self._client.send(self._dialect.publication(self._channel, payload))

    async def wait_for_more(self, within_s: float) -> bool:
        """Waits until something arrives; False if nothing does within the time."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), within_s)
        except TimeoutError:
            return False
        return True

    # --- the owner of the wire client -----------------------------------------------------------------------------

    def established(self, client: WireClient) -> None:
        self._opened.set_result(None)

    def failed(self, client: WireClient, cause: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(cause))

    def lost(self, client: WireClient, cause: str) -> None:
        self._changed.set()

    def closed(self, client: WireClient) -> None:
        self._closed.set()


class _Client(WireClient):
    __slots__ = ("changed",)
    changed: asyncio.Event

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.changed.set()
