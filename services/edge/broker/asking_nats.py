"""Repeats a question to NATS until an answer comes.

In a cluster, a stream without a leader does not answer, and its next leader does not answer questions from before its
election. A question that was asked only once would wait for its timeout although the stream can answer by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from services.chassis.nats.link import NatsAway

ASK_AGAIN_S: Final = 0.5
"""A healthy stream answers within milliseconds."""

T = TypeVar("T")


async def ask_again(ask: Callable[[], Coroutine[Any, Any, T]], timeout_s: float, every_s: float = ASK_AGAIN_S) -> T:
    """The first answer to a question that is asked every `every_s` seconds, or the first error. Raises `NatsAway`
    after `timeout_s` without either."""
    asked: set[asyncio.Task[T]] = set()
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                question = asyncio.get_running_loop().create_task(ask())
                question.add_done_callback(_take_error)
                asked.add(question)
                done, _ = await asyncio.wait(asked, timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return done.pop().result()
    except TimeoutError:
        raise NatsAway("no answer in time", "timeout") from None
    finally:
        for question in asked:
            question.cancel()


def _take_error(question: asyncio.Task[Any]) -> None:
    """Another answer may have come first."""
    if not question.cancelled():
        question.exception()
