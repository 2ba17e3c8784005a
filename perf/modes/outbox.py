"""From a commit to a subscriber, by the outbox: R transactions a second, each with one row, in C channels in turn.

The age counts from PostgreSQL's answer to the COMMIT until a client of an edge has the publication. It is measured
twice: with the trigger, whose notification wakes the relay, and without it, when the relay looks every --poll-interval.
`commit_s` is the application's own COMMIT, for comparison. With --backlog, that many rows are inserted first while no
relay runs; the figure is how many of them the relay then publishes a second.

NATS, PostgreSQL, the edge and the sessions service are perf's own. Exit code 1 if a row did not come, or came twice.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg

from perf import runner
from perf.errors import Refusal, RunFailed
from perf.load.dialects.centrifuge import PATH, connection_token
from perf.load.json_client import JsonClient, connected
from perf.load.pacing import Schedule
from perf.load.target import authority
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.postgres import running_postgres
from perf.servers.sessions import running_sessions
from perf.servers.stack import running_stack
from perf.settings import PerfSettings
from services.sessions.outbox.sql import OUTBOX_SQL

WRITERS = 8
"""Connections of the application."""
_ARRIVED_WITHIN_S = 20.0
_BACKLOG_WITHIN_S = 120.0
_PHASE_S = 2 * _ARRIVED_WITHIN_S
_FAR_FUTURE = 4_000_000_000
_BEGIN_AGAIN_S = 0.3


class OutboxFigures(Figures):
    """`notified_s`, `polled_s`: from the answer to COMMIT to the client. `backlog_a_second`: None without --backlog."""

    rows: int
    channels: int
    rate: float
    lost: int
    doubled: int
    commit_s: Distribution
    notified_s: Distribution
    polled_s: Distribution
    backlog_a_second: int | None

    def table(self) -> str:
        return tables.text(
            [
                ("rows", f"{self.rows} each, {self.rate:g} a second, {self.channels} channels"),
                ("lost, doubled", f"{self.lost}, {self.doubled}"),
                ("the application's COMMIT", f"{self.commit_s.in_ms()} ms"),
                ("commit to client, notified", f"{self.notified_s.in_ms()} ms"),
                ("commit to client, polled", f"{self.polled_s.in_ms()} ms"),
                ("rows of the backlog a second", self.backlog_a_second or "-"),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=100.0, help="transactions a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the two ways (%(default)s)")
    parser.add_argument("--channels", type=int, default=10, help="in turn (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="bytes of a row's data (%(default)s)")
    parser.add_argument("--poll-interval", default="1s", help="outbox.poll_interval (%(default)s)")
    parser.add_argument("--backlog", type=int, default=0, help="rows that wait at the start (%(default)s)")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    bounds = (("rate", 1, 2_000), ("seconds", 0.1, 60), ("channels", 1, 200), ("size", 1, 100_000))
    for name, least, most in (*bounds, ("backlog", 0, 200_000)):
        if not least <= getattr(arguments, name) <= most:
            raise Refusal(f"--{name} is {least} to {most}")
    expected_s = 2 * (arguments.seconds + _PHASE_S) + _BACKLOG_WITHIN_S + 60
    figures = await runner.measured(arguments, expected_s, measure, 1)
    return int(figures is None or bool(figures.lost or figures.doubled))


async def measure(arguments: argparse.Namespace, shown: Bar) -> OutboxFigures:
    channels = [f"log:room-{number}" for number in range(arguments.channels)]
    async with running_stack() as stack, running_postgres() as database, stack.edge() as edge:
        pool = await asyncpg.create_pool(database.url, min_size=WRITERS, max_size=WRITERS)
        await pool.execute(OUTBOX_SQL)
        await _fill(pool, channels, arguments.backlog)
        settings = {"outbox_url": database.url, "outbox_poll_interval": arguments.poll_interval}
        url = f"ws://{authority('127.0.0.1', edge.port)}{PATH}"
        async with connected(url, connection_token("reader", stack.token_secret, _FAR_FUTURE)) as reader:
            for channel in channels:
                await reader.command(subscribe={"channel": channel})
            shown.phase("the backlog" if arguments.backlog else "starting")
            async with running_sessions(stack, database, **settings):
                backlog = await _backlog(pool, arguments.backlog)
                notified = _Round(pool, reader, channels, arguments)
                shown.phase("notified")
                await notified.run()
                await pool.execute("ALTER TABLE fairlead_outbox DISABLE TRIGGER fairlead_outbox_notify")
                polled = _Round(pool, reader, channels, arguments)
                shown.phase("polled")
                await polled.run()
        await pool.close()
    return OutboxFigures(
        rows=len(notified.committed),
        channels=arguments.channels,
        rate=arguments.rate,
        lost=notified.lost + polled.lost,
        doubled=notified.doubled + polled.doubled,
        commit_s=distribution(notified.commits_s + polled.commits_s),
        notified_s=distribution(notified.ages_s),
        polled_s=distribution(polled.ages_s),
        backlog_a_second=backlog,
    )


class _Round:
    """One of the two ways. Its rows have numbers, by which the client's publications are recognized."""

    _last = 0

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], reader: JsonClient, channels: list[str], arguments: argparse.Namespace
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._channels = channels
        self._schedule = Schedule(round(arguments.rate * arguments.seconds), arguments.rate)
        self._padding = "x" * arguments.size
        self.committed: dict[int, float] = {}
        self.commits_s: list[float] = []
        self.ages_s: list[float] = []
        self.lost = self.doubled = 0

    async def run(self) -> None:
        """Writes the rows, and waits for their publications."""
        await asyncio.sleep(_BEGIN_AGAIN_S)
        self._reader.pushes.clear()
        began = time.monotonic()
        await asyncio.gather(*(self._write(began, number) for number in self._schedule.share))
        await _until(self._all_came, _ARRIVED_WITHIN_S)
        for number, at in self.committed.items():
            came = self._came().get(number, [])
            self.lost += not came
            self.doubled += max(0, len(came) - 1)
            self.ages_s += [max(0.0, came[0] - at)] if came else []

    async def _write(self, began: float, number: int) -> None:
        await asyncio.sleep(max(0.0, began + self._schedule.due(number) - time.monotonic()))
        _Round._last += 1
        name = _Round._last
        channel = self._channels[number % len(self._channels)]
        async with self._pool.acquire() as database:
            transaction = database.transaction()
            await transaction.start()
            data = f'{{"n": {name}, "text": "{self._padding}"}}'
            await database.fetchval("SELECT fairlead_publish($1, $2)", channel, data)
            committing = time.monotonic()
            await transaction.commit()
            self.committed[name] = time.monotonic()
            self.commits_s.append(self.committed[name] - committing)

    def _came(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for at, push in self._reader.pushes:
            if "pub" in push:
                found.setdefault(push["pub"]["data"]["n"], []).append(at)
        return found

    async def _all_came(self) -> bool:
        return len(self._reader.pushes) >= len(self.committed)


async def _fill(pool: asyncpg.Pool[asyncpg.Record], channels: list[str], rows: int) -> None:
    await pool.execute(
        "INSERT INTO fairlead_outbox (channel, data) SELECT ($1::text[])[1 + n % $2], '{\"n\": 0}' "
        "FROM generate_series(0, $3::int - 1) AS rows (n)",
        channels,
        len(channels),
        rows,
    )


async def _backlog(pool: asyncpg.Pool[asyncpg.Record], rows: int) -> int | None:
    """How many rows are published each second, from the first published one to the last."""
    if not rows:
        return None

    async def waiting() -> int:
        left: int = await pool.fetchval("SELECT count(*) FROM fairlead_outbox")
        return left

    async def begun() -> bool:
        return await waiting() < rows

    async def done() -> bool:
        return not await waiting()

    await _until(begun, _BACKLOG_WITHIN_S)
    left, began = await waiting(), time.monotonic()
    await _until(done, _BACKLOG_WITHIN_S)
    if not left:
        raise RunFailed("the whole backlog was published at once: use more --backlog")
    return round(left / (time.monotonic() - began))


async def _until(met: Callable[[], Awaitable[bool]], within_s: float) -> None:
    """Returns when `met` is true, or after `within_s` seconds."""
    until = time.monotonic() + within_s
    while not await met() and time.monotonic() < until:
        await asyncio.sleep(0.05)
