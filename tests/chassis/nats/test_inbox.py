from __future__ import annotations

import asyncio

import pytest

from services.chassis.nats import inbox
from services.chassis.nats.errors import NatsAway, NobodyAnswers
from services.chassis.nats.inbox import Inbox

NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"
END = b"NATS/1.0 204 EOB\r\n\r\n"


class Wire:
    """Keeps the questions sent, and answers by hand."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, str]] = []
        self.inbox = Inbox("in", lambda subject, data, headers, reply: self.sent.append((subject, data, reply)))

    async def asks(self, count: int) -> None:
        while len(self.sent) < count:
            await asyncio.sleep(0)

    def answer(self, number: int, data: bytes, headers: bytes | None = None) -> None:
        self.inbox.collect(self.sent[number][2].encode(), b"", headers, data)


async def test_each_question_gets_its_own_answer():
    wire = Wire()
    asked = [asyncio.create_task(wire.inbox.request("s", b"%d" % i, None, 5)) for i in range(3)]
    await wire.asks(3)
    for i in (2, 0, 1):
        wire.answer(i, b"to %d" % i)
        wire.answer(i, b"twice")
    assert [await each for each in asked] == [(None, b"to 0"), (None, b"to 1"), (None, b"to 2")]
    wire.answer(0, b"late")  # no question waits for it


async def test_many_answers_come_as_one_list_with_the_last():
    wire = Wire()
    asked = asyncio.create_task(wire.inbox.request_many("s", b"", lambda headers: headers == END, None, 5))
    await wire.asks(1)
    wire.answer(0, b"a")
    wire.answer(0, b"b")
    assert not asked.done()
    wire.answer(0, b"", END)
    assert await asked == [(None, b"a"), (None, b"b"), (END, b"")]


async def test_no_answer_in_time_and_nobody_there_and_a_lost_connection():
    wire = Wire()
    with pytest.raises(NatsAway, match="in time"):
        await wire.inbox.request("s", b"", None, 0.01)
    asked = asyncio.create_task(wire.inbox.request("s", b"", None, 5))
    await wire.asks(2)
    wire.answer(1, b"", NO_RESPONDERS)
    with pytest.raises(NobodyAnswers):
        await asked
    asked = asyncio.create_task(wire.inbox.request("s", b"", None, 5))
    await wire.asks(3)
    wire.inbox.fail_all(NatsAway("gone"))
    with pytest.raises(NatsAway, match="gone"):
        await asked


async def test_waiting_answers_are_bounded(monkeypatch):
    monkeypatch.setattr(inbox, "MAX_WAITING", 2)
    wire = Wire()
    asked = [asyncio.create_task(wire.inbox.request("s", b"", None, 5)) for _ in range(2)]
    await wire.asks(2)
    with pytest.raises(NatsAway, match="too many"):
        await wire.inbox.request("s", b"", None, 5)
    asked[0].cancel()
    await asyncio.gather(asked[0], return_exceptions=True)
    third = asyncio.create_task(wire.inbox.request("s", b"", None, 5))
    await wire.asks(3)
    for i in (1, 2):
        wire.answer(i, b"")
    await asyncio.gather(asked[1], third)


async def test_a_question_that_cannot_be_sent_waits_for_nothing():
    def refuses(subject: str, data: bytes, headers: bytes | None, reply: str) -> None:
        raise NatsAway("not connected")

    with pytest.raises(NatsAway, match="not connected"):
        await Inbox("in", refuses).request("s", b"", None, 5)
