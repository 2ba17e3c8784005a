"""A client that stops reading is dropped, and one that reads gets everything: on a real uvicorn."""

from __future__ import annotations

import pytest

from services.chassis.http.unread import dropping_who_does_not_read
from tests.support.eventually import eventually
from tests.support.raw_client import asking, everything

PARTS, PART = 12, b"x" * 1_000_000
"""More bytes than the buffers of a socket hold."""


class App:
    """Sends parts, each of which its client must take within `within_s`."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self.ended = False

    async def __call__(self, scope, receive, send):
        patient = dropping_who_does_not_read(scope, send, self._within_s)
        await patient({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        for _ in range(PARTS):
            await patient({"type": "http.response.body", "body": PART, "more_body": True})
        await patient({"type": "http.response.body", "body": b""})
        self.ended = True


async def test_who_reads_nothing_is_dropped_with_all_that_was_buffered(caplog: pytest.LogCaptureFixture) -> None:
    app = App(within_s=0.1)
    async with asking(app, "/stream") as client:
        await eventually(lambda: app.ended)
        received = await everything(client)
    assert len(received) < PARTS * len(PART), "only what was on its way"
    assert "/stream: its client took nothing for 0.1 s and was dropped" in caplog.text


async def test_who_reads_gets_everything(caplog: pytest.LogCaptureFixture) -> None:
    app = App(within_s=30)
    async with asking(app, "/stream") as client:
        received = await everything(client)
    assert len(received) > PARTS * len(PART) and received.endswith(b"\r\n0\r\n\r\n")
    assert app.ended and "dropped" not in caplog.text
