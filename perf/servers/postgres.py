"""A PostgreSQL of perf's own: the one that `make up` starts, with its settings, on an empty database in a folder that
is removed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

from deploy.processes import postgres
from deploy.processes.ports import HOST, free_port
from deploy.processes.process import Process, ProcessError, Program
from deploy.processes.readiness import is_listening
from perf.errors import Refusal
from perf.servers import processes

STOP_WITHIN_S = 10.0


class OwnPostgres(NamedTuple):
    """`pid` is the postmaster's: the processes that serve connections are its children."""

    url: str
    pid: int


@contextlib.asynccontextmanager
async def running_postgres(settings: Mapping[str, str] | None = None) -> AsyncIterator[OwnPostgres]:
    """`settings` are PostgreSQL's own. Raises `Refusal` if it is not installed or does not get ready."""
    port, password = free_port(), os.urandom(12).hex()
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-postgres-") as name:
        data = Path(name) / "postgres"
        try:
            privilege = postgres.Privilege.find()
            await asyncio.to_thread(postgres.ensure_database, privilege, data, password)
            command = postgres.command(privilege, data, port, settings)
        except ProcessError as error:
            raise Refusal(str(error)) from None
        program = Program("PostgreSQL", command, stop_signal=signal.SIGINT)
        server = Process(program, Path(name) / "postgres.log")
        async with processes.running(server, STOP_WITHIN_S):
            await processes.ready(server, lambda: is_listening(port))
            yield OwnPostgres(f"postgresql://{postgres.USER}:{password}@{HOST}:{port}/{postgres.DATABASE}", server.pid)
