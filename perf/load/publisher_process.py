"""The publisher's process, as the run sees it: started in advance, told when to begin, asked for its figures."""

from __future__ import annotations

import gc
import time
from multiprocessing.connection import Connection

from perf.load import child_process
from perf.load.child_process import ChildDied, ChildGroup
from perf.load.publisher import Published, Publisher, Publishing
from perf.load.worker_messages import Begin, Ready

LEAD_S = 0.1


def main(publishing: Publishing, pipe: Connection[object, object]) -> None:
    child_process.run(_work, publishing, pipe)


async def _work(publishing: Publishing, pipe: Connection[object, object]) -> None:
    publisher = Publisher(publishing)
    await publisher.open()
    gc.freeze()
    child_process.send(pipe, Ready())
    begin = await child_process.receive(pipe)
    assert isinstance(begin, Begin)
    child_process.send(pipe, await publisher.run(begin.start))
    publisher.close()


class PublisherProcess(ChildGroup[Publishing]):
    """`async with PublisherProcess(publishing) as publisher:` connects; then `begin()`, `await finished(...)`."""

    def __init__(self, publishing: Publishing) -> None:
        super().__init__(main, [publishing], "perf-publisher")
        self._published: Published | None = None

    def begin(self) -> float:
        """Starts the schedule. Returns the time at which it begins, of `time.monotonic`."""
        start = time.monotonic() + LEAD_S
        self.send(Begin(start))
        return start

    async def finished(self, within_s: float) -> Published:
        """The publisher's figures, when everything was published and answered. Raises `ChildDied`."""
        await self.until(lambda: self._published is not None, within_s)
        if self._published is None:
            raise ChildDied(f"the publisher was not done within {within_s:.0f} s")
        return self._published

    def received(self, number: int, message: object) -> None:
        if isinstance(message, Published):
            self._published = message

    def is_done(self, number: int) -> bool:
        return self._published is not None
