"""Tasks that a process cannot do without: when one of them fails, the process says so and leaves in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


def vital(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Runs `work` as a task. If it ends with an exception the process gets SIGTERM: a service that limps is worse."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_check)
    return task


def _check(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a vital part failed, the process stops", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
