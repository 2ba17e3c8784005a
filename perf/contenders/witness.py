"""One subscriber in the process that publishes: by what it hears, publishing keeps pace with delivery.

Without it a system that answers a publish before it delivers would be fed faster than it can work, and be measured by
how it fails instead of by what it can do.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from perf import frames
from perf.dialects import Dialect
from perf.ears import Ears
from perf.target import Target
from perf.wire_client import WireClient

OPEN_WITHIN_S = 15.0


class Witness:
    """`async with Witness(target, dialect, channel) as witness:`; `heard` counts messages from then on."""

    def __init__(self, target: Target, dialect: Dialect, channel: str) -> None:
        self._target = target
        self._dialect = replace(dialect, channel=channel)
        self._channel = channel
        self._ears = Ears(every=0)
        self._changed = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()
        self._client: WireClient | None = None

    async def __aenter__(self) -> Witness:
        """Raises OSError, TimeoutError, ConnectionError with what the server said."""
        opening = self._dialect.opening(0)
        request = frames.upgrade_request(f"{self._target.host}:{self._target.port}", opening.path, opening.headers)
        self._client = client = _Listener(self, self._ears, self._dialect, 0, request, opening, 0.0)
        client.changed = self._changed
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client, self._target.host, self._target.port)
        try:
            await asyncio.wait_for(self._opened, OPEN_WITHIN_S)
        except BaseException:
            client.fail("")
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        self._client.fail("")
        await self._gone.wait()

    @property
    def heard(self) -> int:
        return self._ears.heard.messages

    def say(self, payload: bytes) -> None:
        """Publishes over its own socket."""
        assert self._client is not None
        self._client.say(self._dialect.publication(self._channel, payload))

    async def more(self, within_s: float) -> bool:
        """Waits until something arrives; whether it did."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), within_s)
        except TimeoutError:
            return False
        return True

    # --- the owner of a wire client ---------------------------------------------------------------------------------

    def established(self, client: WireClient) -> None:
        self._opened.set_result(None)

    def failed(self, client: WireClient, cause: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(cause))

    def lost(self, client: WireClient, cause: str) -> None:
        self._changed.set()

    def gone(self, client: WireClient) -> None:
        self._gone.set()


class _Listener(WireClient):
    __slots__ = ("changed",)
    changed: asyncio.Event

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.changed.set()
