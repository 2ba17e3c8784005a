"""The publisher's process, seen from the run: started before it, let go at a moment, asked for its figures."""

from __future__ import annotations

import gc
import time
from multiprocessing.connection import Connection

from perf import child
from perf.child import ChildDied, Companion
from perf.publisher import Published, Publisher, Publishing
from perf.words import Begin, Ready

LEAD_S = 0.1


def main(publishing: Publishing, pipe: Connection[object, object]) -> None:
    child.run(_work, publishing, pipe)


async def _work(publishing: Publishing, pipe: Connection[object, object]) -> None:
    publisher = Publisher(publishing)
    await publisher.open()
    gc.freeze()
    child.say(pipe, Ready())
    begin = await child.next_order(pipe)
    assert isinstance(begin, Begin)
    child.say(pipe, await publisher.run(begin.start))
    publisher.close()


class PublisherProcess(Companion):
    """`async with PublisherProcess(publishing) as publisher:` is connected; then `begin()`, `await finished(...)`."""

    def __init__(self, publishing: Publishing) -> None:
        super().__init__(main, publishing, "perf-publisher")
        self.done: Published | None = None

    def begin(self) -> float:
        """Starts its schedule. The time of its zero, of `time.monotonic`."""
        start = time.monotonic() + LEAD_S
        self.tell(Begin(start))
        return start

    async def finished(self, within_s: float) -> Published:
        """Its figures, when everything was published and answered. Raises `ChildDied`."""
        await self.waiting.until(lambda: self.done is not None, within_s)
        if self.done is None:
            raise ChildDied(f"the publisher was not done within {within_s:.0f} s")
        return self.done

    def hear(self, word: object) -> None:
        if isinstance(word, Published):
            self.done = word
