"""What NATS itself takes from a publish to a subscriber: the measure that Fairlead's delivery is held against.

A process with one nats-py client that subscribes to each channel's bare subject and samples the age of what arrives,
as the clients of a fleet do.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import nats
from nats.aio.msg import Msg

from perf import child
from perf.child import ChildDied, Companion
from perf.ears import Ears, Heard
from perf.words import Finish, Ready, Take

ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Listening:
    nats_url: str
    subjects: Sequence[str]


@dataclass(slots=True)
class _Subscriber:
    next_number: int = 0
    last: bytes = b""


def main(listening: Listening, pipe: Connection[object, object]) -> None:
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    child.run(_work, listening, pipe)


async def _work(listening: Listening, pipe: Connection[object, object]) -> None:
    ears, subscriber = Ears(), _Subscriber()

    async def hear(message: Msg) -> None:
        ears.hear(subscriber, message.data)

    client = await nats.connect(listening.nats_url, name="perf-bare")
    for subject in listening.subjects:
        await client.subscribe(subject, cb=hear)
    await client.flush()
    gc.freeze()
    child.say(pipe, Ready())
    while not isinstance(order := await child.next_order(pipe), Finish):
        if isinstance(order, Take):
            child.say(pipe, ears.take())
    await client.close()


class BareSubscriber(Companion):
    """`async with BareSubscriber(...) as subscriber:` it listens; `await take()` gives what it heard."""

    def __init__(self, listening: Listening) -> None:
        super().__init__(main, listening, "perf-bare-nats")
        self._takes: list[Heard] = []

    async def take(self) -> Heard:
        """What was heard since the last take. Raises `ChildDied`."""
        self.tell(Take())
        if not await self.waiting.until(lambda: bool(self._takes), ANSWER_WITHIN_S):
            raise ChildDied("the bare subscriber does not answer")
        return self._takes.pop()

    def hear(self, word: object) -> None:
        if isinstance(word, Heard):
            self._takes.append(word)
