"""What the child processes of tests do. In a module of its own: a spawned process imports it."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection

from perf.load import child_process
from perf.load.worker_messages import Finish, Ready


async def _echo(task: int, pipe: Connection[object, object]) -> None:
    """Sends `Ready`, then so many bytes for each message that it receives."""
    child_process.send(pipe, Ready())
    while not isinstance(await child_process.receive(pipe), Finish):
        child_process.send(pipe, b"x" * task)


def echo(task: int, pipe: Connection[object, object]) -> None:
    child_process.run(_echo, task, pipe)


def die(task: int, pipe: Connection[object, object]) -> None:
    os._exit(task)


def hang(task: int, pipe: Connection[object, object]) -> None:
    """Is ready, and does not notice that its parent has gone."""
    pipe.send(Ready())
    threading.Event().wait()
