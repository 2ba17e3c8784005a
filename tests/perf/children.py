"""What the child processes of tests do. In a module of its own: a spawned process imports it."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection

from perf import child
from perf.words import Finish, Ready


async def _echo(task: int, pipe: Connection[object, object]) -> None:
    """Says `Ready`, then so many bytes for each word it hears."""
    child.say(pipe, Ready())
    while not isinstance(await child.next_order(pipe), Finish):
        child.say(pipe, b"x" * task)


def echo(task: int, pipe: Connection[object, object]) -> None:
    child.run(_echo, task, pipe)


def die(task: int, pipe: Connection[object, object]) -> None:
    os._exit(task)


def hang(task: int, pipe: Connection[object, object]) -> None:
    """Is ready, and does not notice that its parent has gone."""
    pipe.send(Ready())
    threading.Event().wait()
