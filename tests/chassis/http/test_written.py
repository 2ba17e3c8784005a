"""A response that is written while it is read frees what it holds, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from services.chassis.http.written import WrittenWhileRead
from tests.support.eventually import eventually
from tests.support.raw_client import asking, everything

PART = b"x" * 1_000_000
"""Twelve of them are more than the buffers of a socket hold."""


class App:
    """Sends parts without an end, or until `parts` are sent. `running`: how many responses there are."""

    def __init__(self, parts: int, within_s: float = 60, unread_s: float = 60) -> None:
        self._parts = parts
        self._limits = within_s, unread_s
        self.running = 0
        self.began = self.closed = 0

    async def __call__(self, scope, receive, send):
        await WrittenWhileRead(self._pieces(), "text/plain", {"connection": "close"}, self._count, *self._limits)(
            scope, receive, send
        )

    def _count(self, difference: int) -> None:
        self.running += difference

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        self.began += 1
        try:
            for _ in range(self._parts):
                yield PART
                await asyncio.sleep(0)
        finally:
            self.closed += 1


async def test_who_reads_gets_everything() -> None:
    app = App(parts=12)
    async with asking(app, "/file") as client:
        assert (await everything(client)).endswith(b"\r\n0\r\n\r\n")
        await eventually(lambda: (app.running, app.closed) == (0, 1))


async def test_who_reads_nothing_and_who_is_gone_holds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = App(parts=12, unread_s=0.1)
    async with asking(app, "/file"):
        await eventually(lambda: (app.running, app.closed) == (0, 1))
    assert "/file: its client took nothing for 0.1 s and was dropped" in caplog.text
    app = App(parts=10**9)
    async with asking(app, "/file"):
        await eventually(lambda: app.running == 1)
    await eventually(lambda: (app.running, app.closed) == (0, 1))


async def test_what_takes_too_long_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    app = App(parts=10**9, within_s=0.05)
    await app({"type": "http", "path": "/file", "asgi": {"spec_version": "2.4"}}, receive, send)
    assert (app.running, app.began, app.closed) == (0, 1, 1)
    assert sent[-1]["more_body"], "so the server breaks it off"
    assert "/file: cut after 0.05 s" in caplog.text
