"""A server process of perf's own: started with its output in a log, and ended when the block is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from perf import own_edge
from perf.refusal import Refusal

READY_WITHIN_S = 20.0
_POLL_S = 0.02


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str],
    log: Path,
    environ: Mapping[str, str] | None = None,
    goodbye: signal.Signals = signal.SIGTERM,
    *,
    stop_within_s: float,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`goodbye` asks it to end; what does not within `stop_within_s` is killed. `environ` None: the caller's own."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=output, stderr=output)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(goodbye)
        try:
            await asyncio.wait_for(process.wait(), stop_within_s)
        except TimeoutError:
            process.kill()
            await process.wait()


async def listening(process: asyncio.subprocess.Process, name: str, port: int, log: Path) -> None:
    """Waits until `port` takes connections. Raises `Refusal` with the end of its log when that does not come."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(_POLL_S)
    raise Refusal(f"{name} does not come up; its log ends:\n{own_edge.tail_of(log)}")
