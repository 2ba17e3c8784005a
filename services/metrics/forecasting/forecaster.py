"""Runs the worker: a process for each forecast, with a deadline. The event loop only waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from importlib.util import find_spec
from typing import Final

import msgspec

from services.metrics.forecasting.prediction import Answer, Task

DEADLINE_S: Final = 300.0
"""A forecast takes some seconds of CPU time; a worker that has not finished after this time is killed."""

_LIBRARY: Final = "statsmodels"
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ForecastFailed(Exception):
    """There is no forecast. The text says why, and what to do."""


def missing_extra() -> str | None:
    """Why no forecast can be made here, None if one can. Loads nothing."""
    if find_spec(_LIBRARY) is None:
        return "the extra `forecast` is not installed: pip install 'fairlead[forecast]'"
    return None


async def forecast(task: Task, deadline_s: float = DEADLINE_S) -> Answer:
    """The worker's answer. Raises `ForecastFailed`. If the call is cancelled, the worker ends too."""
    if (problem := missing_extra()) is not None:
        raise ForecastFailed(problem)
    pipe = asyncio.subprocess.PIPE
    command = [arg for name in _THREADS for arg in (f"{name}=1",)]
    try:
        process = await asyncio.create_subprocess_exec(
            "env", *command, sys.executable, "-m", f"{__package__}.worker", stdin=pipe, stdout=pipe, stderr=pipe
        )
    except OSError as error:  # no memory, no processes left
        raise ForecastFailed(f"the forecast's process cannot be started: {error}") from None
    try:
        async with asyncio.timeout(deadline_s):
            said, complained = await process.communicate(msgspec.json.encode(task))
    except TimeoutError:
        raise ForecastFailed(f"the forecast took longer than {deadline_s:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        last = complained.decode(errors="replace").strip().rpartition("\n")[2]
        raise ForecastFailed(f"the forecast failed with exit code {process.returncode}: {last}")
    try:
        return msgspec.json.decode(said, type=Answer)
    except msgspec.DecodeError as error:
        raise ForecastFailed(f"the forecast's answer cannot be read: {error}") from None
