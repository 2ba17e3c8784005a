"""Publishes over a few connections at a time, and waits for each answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from perf.errors import RunFailed
from perf.load.publish_connection import PublishConnection
from perf.load.publish_targets import PublishTarget

ANSWER_S = 10.0


class PublishFailed(RunFailed):
    """A publication was refused, or not answered in time."""


class PublishPool:
    """Made by `publish_pool`. It has a connection for each publication in flight."""

    def __init__(self, target: PublishTarget) -> None:
        self._target = target
        self._free: asyncio.Queue[PublishConnection] = asyncio.Queue()
        self._answers: dict[PublishConnection, asyncio.Future[str | None]] = {}
        self._lost: dict[PublishConnection, str] = {}
        self._connections: list[PublishConnection] = []

    async def open(self, connections: int) -> None:
        """Raises OSError."""
        for _ in range(connections):
            connection = PublishConnection(self._target, self._on_answer, self._on_lost)
            await connection.open()
            self._connections.append(connection)
            self._free.put_nowait(connection)

    async def publish(self, channel: str, data: bytes) -> None:
        """Returns when the publication was answered, which is all that most systems report. Raises `PublishFailed`."""
        connection = await self._free.get()
        if connection in self._lost:
            raise PublishFailed(f"a connection for publishing was lost: {self._lost[connection]}")
        if self._target.answered:
            await self._publish_and_wait(connection, channel, data)
        else:
            connection.publish(channel, data)
        self._free.put_nowait(connection)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def _publish_and_wait(self, connection: PublishConnection, channel: str, data: bytes) -> None:
        answer = self._answers[connection] = asyncio.get_running_loop().create_future()
        connection.publish(channel, data)
        try:
            failure = await asyncio.wait_for(answer, ANSWER_S)
        except TimeoutError:
            raise PublishFailed(f"a publication was not answered within {ANSWER_S:.0f} s") from None
        if failure is not None:
            raise PublishFailed(f"a publication was refused: {failure}")

    def _on_answer(self, connection: PublishConnection, failure: str | None, _seconds: float) -> None:
        answer = self._answers.pop(connection, None)
        if answer is not None and not answer.done():
            answer.set_result(failure)

    def _on_lost(self, connection: PublishConnection, cause: str) -> None:
        self._lost[connection] = cause
        self._on_answer(connection, cause, 0.0)


@contextlib.asynccontextmanager
async def publish_pool(target: PublishTarget, connections: int) -> AsyncIterator[PublishPool]:
    """Raises OSError."""
    pool = PublishPool(target)
    try:
        await pool.open(connections)
        yield pool
    finally:
        pool.close()
