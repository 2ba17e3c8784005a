"""The end of a process that serves: its exit code says whether it was asked to stop, or could not continue."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.processes.ports import free_port

SERVES = """
import asyncio, signal, sys
from contextlib import asynccontextmanager
from services.chassis.http.application import make_application
from services.chassis.http.server import run
from services.chassis.process.tasks import vital

async def told():
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)

async def fails():
    await asyncio.sleep(0)
    raise LookupError("nobody foresaw this")

@asynccontextmanager
async def lifespan(app):
    if sys.argv[2] == "cannot start":
        raise LookupError("nobody foresaw this")
    task = vital(told() if sys.argv[2] == "is told" else fails())
    yield
    task.cancel()

run(make_application([], lifespan), host="127.0.0.1", ports={"edge.port": int(sys.argv[1])})
"""


@pytest.mark.parametrize(("what", "code"), [("is told", 0), ("loses a vital task", 1), ("cannot start", 3)])
def test_the_exit_code_says_why_a_process_ended(what: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SERVES, str(free_port()), what], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == code, ended.stderr
    assert ("nobody foresaw this" in ended.stderr) == (code != 0)
