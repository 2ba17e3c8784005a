"""How long NATS alone takes from a publish to a subscriber: the figure that Fairlead's delivery is compared with.

It is a process with one nats-py client that subscribes to each channel's bare subject, and samples the ages of messages
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

from perf.load import child_process
from perf.load.child_process import ChildDied, ChildGroup
from perf.load.delivery_counter import Deliveries, DeliveryCounter
from perf.load.worker_messages import Finish, Ready, Take

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
    child_process.run(_work, listening, pipe)


async def _work(listening: Listening, pipe: Connection[object, object]) -> None:
    counter, subscriber = DeliveryCounter(), _Subscriber()

    async def receive(message: Msg) -> None:
        counter.count(subscriber, message.data)

    client = await nats.connect(listening.nats_url, name="perf-bare")
    for subject in listening.subjects:
        await client.subscribe(subject, cb=receive)
    await client.flush()
    gc.freeze()
    child_process.send(pipe, Ready())
    while not isinstance(message := await child_process.receive(pipe), Finish):
        if isinstance(message, Take):
            child_process.send(pipe, counter.take())
    await client.close()


class BareSubscriber(ChildGroup[Listening]):
    """Inside `async with BareSubscriber(...) as subscriber:` it is subscribed; `await take()` returns what it
    received."""

    def __init__(self, listening: Listening) -> None:
        super().__init__(main, [listening], "perf-bare-nats")
        self._takes: list[Deliveries] = []

    async def take(self) -> Deliveries:
        """What was received since the last take. Raises `ChildDied`."""
        self.send(Take())
        if not await self.until(lambda: bool(self._takes), ANSWER_WITHIN_S):
            raise ChildDied("the bare subscriber does not answer")
        return self._takes.pop()

    def received(self, number: int, message: object) -> None:
        if isinstance(message, Deliveries):
            self._takes.append(message)
