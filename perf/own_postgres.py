"""A PostgreSQL of perf's own: the one that `make up` starts, with its settings, on an empty database in a folder that
goes away with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from deploy.local import postgres
from deploy.local.settings import LocalStackError
from perf import own_edge
from perf.own_edge import free_port
from perf.refusal import Refusal

READY_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0
_POLL_S = 0.05


class OwnPostgres(NamedTuple):
    """`pid` is the postmaster's: the processes that serve connections are its children."""

    url: str
    pid: int


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[OwnPostgres]:
    """Raises `Refusal` when it is not installed or does not come up."""
    port, password = free_port(), os.urandom(12).hex()
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-postgres-") as name:
        folder = Path(name)
        data, log = folder / "postgres", folder / "postgres.log"
        try:
            privilege = postgres.Privilege.find()
            await asyncio.to_thread(postgres.ensure_database, privilege, data, password)
            command = postgres.command(privilege, data, port)
        except LocalStackError as error:
            raise Refusal(str(error)) from None
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            await _listening(process, port, log)
            url = f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port}/{postgres.DATABASE}"
            yield OwnPostgres(url, process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)  # its fast shutdown
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(_POLL_S)
    raise Refusal(f"PostgreSQL does not come up; its log ends:\n{own_edge.tail_of(log)}")
