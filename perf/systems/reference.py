"""Plain servers with which Fairlead is compared in the same run, by the same generator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from deploy.processes.process import ProcessError
from deploy.processes.process_tree import ProcessTree
from perf.errors import Refusal
from perf.load.dialects import Dialect
from perf.load.publish_targets import PublishTarget
from perf.systems import others
from perf.systems.system import Launch, Unavailable

CHANNEL = "reference"


class Reference:
    """A server that is ready; made by `starlette` and `send_loop`."""

    def __init__(self, launch: Launch, tree: ProcessTree) -> None:
        assert launch.publish is not None
        self._tree = tree
        self.port = launch.port
        self.dialect: Dialect = replace(launch.dialect, channel=CHANNEL)
        self.publish_target: PublishTarget = launch.publish

    def usage(self) -> tuple[int, float]:
        """PSS in bytes (a shared page counts in part), CPU seconds since its start."""
        return self._tree.pss_bytes(), self._tree.cpu_s()


@contextlib.asynccontextmanager
async def _running(launch: Callable[[Path, int], Launch]) -> AsyncIterator[Reference]:
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-reference-") as folder:
        try:
            launched = launch(Path(folder), len(cores))
            with ProcessTree(launched.programs, Path(folder), cores, os.environ) as tree:
                await asyncio.to_thread(tree.wait_until_ready, launched.ready)
                yield Reference(launched, tree)
        except (Unavailable, ProcessError) as error:
            raise Refusal(str(error)) from None


def starlette() -> contextlib.AbstractAsyncContextManager[Reference]:
    """A plain broadcast in Starlette on uvicorn. Raises `Refusal`."""
    return _running(others.starlette)


def send_loop() -> contextlib.AbstractAsyncContextManager[Reference]:
    """A loop of send() in C, which needs a compiler. Raises `Refusal`."""
    return _running(others.send_loop)


ALL = {"starlette": starlette, "send-loop": send_loop}
