from __future__ import annotations

import asyncio

import pytest

from services.chassis.nats.link import NatsAway, NobodyAnswers
from services.edge.broker.asking_nats import ask_again


class Stream:
    """Answers only what it is asked from the question number `from_now` on."""

    def __init__(self, from_now: int, error: NatsAway | None = None) -> None:
        self.asked = 0
        self._from_now = from_now
        self._error = error

    async def ask(self) -> int:
        self.asked += 1
        if self.asked < self._from_now:
            await asyncio.Event().wait()
        if self._error is not None:
            raise self._error
        return self.asked


async def test_a_question_from_before_a_stream_had_a_leader_is_asked_again():
    assert await ask_again(Stream(3).ask, timeout_s=10, every_s=0.01) == 3


async def test_a_stream_that_answers_is_asked_once():
    stream = Stream(1)
    assert await ask_again(stream.ask, timeout_s=10) == stream.asked == 1


async def test_an_error_is_an_answer():
    with pytest.raises(NobodyAnswers):
        await ask_again(Stream(2, NobodyAnswers("no")).ask, timeout_s=10, every_s=0.01)


async def test_a_stream_that_never_answers_has_its_time():
    with pytest.raises(NatsAway) as failed:
        await ask_again(Stream(1000).ask, timeout_s=0.05, every_s=0.01)
    assert failed.value.cause == "timeout"
