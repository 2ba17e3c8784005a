"""A PostgreSQL of perf's own: the one that `make up` starts, with its settings, on an empty database in a folder that
goes away with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from deploy.local import postgres
from deploy.local.settings import LocalStackError
from perf import own_server
from perf.own_edge import free_port
from perf.refusal import Refusal

STOP_WITHIN_S = 10.0


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
        goodbye = signal.SIGINT  # its fast shutdown
        async with own_server.running(command, log, goodbye=goodbye, stop_within_s=STOP_WITHIN_S) as process:
            await own_server.listening(process, "PostgreSQL", port, log)
            url = f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port}/{postgres.DATABASE}"
            yield OwnPostgres(url, process.pid)
