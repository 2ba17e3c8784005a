"""Causes at capacity: more load than the edges carry, more than they will, and no forecast."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

import asyncpg
import psutil

from services.chassis.postgres.pool import Pool
from services.metrics.history import HOUR_S
from services.metrics.history_postgres import PostgresHistory
from services.metrics.minutes import MINUTE_S, WHOLE, Minute
from tests.alerts.cause import Cause, frozen, nothing
from tests.alerts.load import Crowd, flood
from tests.alerts.stage import Stage

BANDWIDTH = 100_000
"""What an edge may send, in bytes per second: `capacity.bandwidth` of the stage, of which 70 % are used."""

ROOM_FOR_MINUTES = ("services/metrics/recorder.py", "MAX_WAITING: Final = 50_000", "MAX_WAITING: Final = 4")
"""Where the bound is, as it is, and as it is on the stage of `LOST_MINUTES`."""

_WEEKS = 4
_MESSAGE_BYTES = 1100
_FIGURES = "messages_out = messages_out * $1, bytes_out = bytes_out * $1, " + ", ".join(
    f"high_{name} = high_{name} * $1" for name in ("messages_out", "bytes_out", "connections")
)


async def _send_much(stage: Stage) -> None:
    """600 kB/s to 40 clients of each of two edges, which may send 140 kB/s together."""
    crowd = Crowd()
    try:
        for edge in (1, 2):
            await crowd.come(stage, edge, count=40, channels=("live:much",))
        await flood(stage, "live:much", size=_MESSAGE_BYTES, rate=7)
    finally:
        crowd.leave()


async def remember_weeks(stage: Stage) -> None:
    """Writes a past of some weeks into the history. The service is restarted with it."""
    await write_weeks(stage.postgres_url, _WEEKS)
    await stage.kill("metrics")


async def write_weeks(postgres_url: str, weeks: int) -> None:
    """A past of so many weeks, as the metrics service writes it: a daily pattern, 2 edges, at night half of what the
    edges of a stage may send and by day six times as much."""
    async with Pool(postgres_url, 1) as pool:
        history = PostgresHistory(pool, keep_minutes_s=(weeks + 1) * 7 * 86400, keep_hours_s=400 * 86400)
        end = int(time.time()) // HOUR_S * HOUR_S
        for day in range(-weeks * 7, 0):
            await history.write([one for hour in range(24) for one in _hour(end + day * 86400 + hour * HOUR_S)])
        # those few that the service has made itself: it goes on from the last one
        await _execute(postgres_url, "DELETE FROM metrics_hours")
        await history.tidy(end)


def _hour(start: int) -> list[Minute]:
    messages = 35 + 170 * (1 - math.cos(2 * math.pi * start / 86400))  # per second and edge, least at midnight
    return [
        _minute(start + number * 5 * MINUTE_S, edge, messages, edges)
        for number in range(12)
        for edge, edges in (("edge-1", 1), ("edge-2", 1), (WHOLE, 2))
    ]


def _minute(start: int, edge: str, messages: float, edges: int) -> Minute:
    return Minute(
        start,
        edge,
        seconds=60,
        edges=edges,
        connections=edges * messages / 7,
        messages_out=edges * messages,
        bytes_out=edges * messages * _MESSAGE_BYTES,
        cpu=edges * (0.02 + messages * 1.5e-5),
        memory_bytes=edges * 50e6,
        open_fds=edges * (40 + messages / 7),
        max_fds=edges * 65536.0,
    )


async def _see_less_coming(stage: Stage) -> None:
    """The past is changed to a twentieth: that is foreseen by the next forecast."""
    await _execute(stage.postgres_url, f"UPDATE metrics_hours SET {_FIGURES}", 0.05)


async def _execute(postgres_url: str, statement: str, *values: float) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(statement, *values)
    await connection.close()


async def _kill_forecasts(stage: Stage) -> None:
    while True:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in stage.checkout.process("metrics").children(recursive=True):
                if any("forecasting.worker" in word for word in process.cmdline()):
                    process.kill()
        await asyncio.sleep(0.1)


CAPACITY = (
    Cause("600 kB/s to clients of edges that may send 140 kB/s", ("HeadroomLow", "EdgesTooFew"), _send_much, nothing),
    Cause(
        "a past of four weeks, of which each day needed 11 edges, where at most 6 may run",
        ("CapacityRunsOut", "EdgesRunOut"),
        remember_weeks,
        _see_less_coming,
    ),
)

FAILING_FORECASTS = Cause(
    "the process that makes forecasts, every 5 minutes here, is killed each time",
    (),
    _kill_forecasts,
    nothing,
    lasting=("ForecastFails",),
)

LOST_MINUTES = (
    frozen(
        "postgres",
        "PostgreSQL hangs, and the metrics service has room for 4 minutes of edges (50,000 otherwise)",
        "CapacityHistoryLost",
        besides=("ProjectionLate", "ForecastFails"),
    ),
)
