"""The processes of perf's own servers, from async code: started, waited for, and ended with the block."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable

from deploy.processes.process import Process, ProcessError, Started
from deploy.processes.readiness import Check
from perf.errors import Refusal

READY_WITHIN_S = 20.0
POLL_S = 0.02

popen: Callable[..., Started] = subprocess.Popen
"""What starts edges and sessions services. The tests have something here that is faster."""


@contextlib.asynccontextmanager
async def running(process: Process, stop_within_s: float) -> AsyncIterator[Process]:
    """Starts it. At the end it is asked to stop, and killed if it does not within the time."""
    process.start()
    try:
        yield process
    finally:
        await asyncio.to_thread(process.end, stop_within_s)


async def ready(process: Process, is_ready: Check, poll_s: float = POLL_S) -> None:
    """Waits for it. Raises `Refusal` with the end of its log if it does not get ready."""
    try:
        await asyncio.to_thread(process.wait_until_ready, is_ready, READY_WITHIN_S, poll_s)
    except ProcessError as error:
        raise Refusal(str(error)) from None
