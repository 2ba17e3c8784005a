"""How fast questions about sessions are answered from a PostgreSQL that is full of sessions.

NATS, PostgreSQL and the sessions service are perf's own. PostgreSQL is filled with a month of --sessions and all that
belongs to them; --database measures one that was filled before. Then each question of the command line (to PostgreSQL)
and of the HTTP API is asked --runs times, each time about something else and then once more, when what it reads is in
memory. Exit code 1 if the p99 of a question is above --bound, or if one was not answered: it is named, with the reason,
and the others are still asked.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import AsyncIterator

import msgspec

from perf import runner
from perf.errors import Refusal, RunFailed
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers import session_rows
from perf.servers.postgres import OwnPostgres, running_postgres
from perf.servers.session_questions import Api, Chance, Question, of_the_api, of_the_command_line
from perf.servers.sessions import running_sessions
from perf.servers.stack import running_stack
from perf.settings import PerfSettings
from services.chassis.postgres.errors import StoreAway
from services.sessions.api.reader_postgres import ReadPool, TooSlow

_TABLES = (
    *("sessions", "connections", "subscriptions", "timeline", "user_devices", "channels", "channel_hours"),
    *(
        "channel_days",
        "drops",
        "drop_codes",
        "drop_versions",
        "openings",
        "opening_versions",
        "refusals",
        "refusal_counts",
        "edges",
    ),
)
_SESSIONS_A_SECOND = 2_000  # at the least, to fill
_SEED = 17


class Asked(msgspec.Struct):
    """The times of one question, in seconds, for the first and the second asking; `failed` says why it was not asked
    --runs times."""

    question: str
    seconds: Distribution
    again: Distribution
    failed: str | None = None


class QueryFigures(Figures):
    """`rows`: about how many each table had; `bytes_on_disk`: of all of them, with their indexes."""

    bound_s: float
    runs: int
    fill_s: float | None
    bytes_on_disk: int
    rows: dict[str, int]
    asked: list[Asked]

    @property
    def slow(self) -> list[str]:
        """The questions past the bound."""
        return [one.question for one in self.asked if self._is_slow(one.seconds)]

    @property
    def slow_again(self) -> list[str]:
        """The questions that are past the bound even when asked again."""
        return [one.question for one in self.asked if self._is_slow(one.again)]

    def _is_slow(self, seconds: Distribution) -> bool:
        return seconds.p99 is None or seconds.p99 > self.bound_s

    @property
    def failed(self) -> list[str]:
        """The questions without an answer, each with the reason."""
        return [f"{one.question}: {one.failed}" for one in self.asked if one.failed is not None]

    def table(self) -> str:
        lines = tables.markdown(
            ("question", "p50, ms", "p99, ms", "most, ms", "again: p50, ms", "p99, ms"),
            [(one.question, *map(_ms, _shown(one))) for one in self.asked],
        )
        facts = tables.text(
            [
                ("rows", ", ".join(f"{name} {count:,}" for name, count in self.rows.items())),
                ("bytes on disk", f"{self.bytes_on_disk:,}"),
                ("filled in", "before" if self.fill_s is None else f"{self.fill_s} s"),
                (f"above {self.bound_s * 1000:g} ms", ", ".join(self.slow) or "none"),
                ("also again", ", ".join(self.slow_again) or "none"),
                *(("not answered", one) for one in self.failed),
            ]
        )
        return f"{lines}\n\n{facts}"


def _shown(one: Asked) -> list[float | None]:
    return [one.seconds.p50, one.seconds.p99, one.seconds.max, one.again.p50, one.again.p99]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sessions", type=int, default=400_000, help="of the month (%(default)s)")
    parser.add_argument("--runs", type=int, default=200, help="how often each question is asked (%(default)s)")
    parser.add_argument("--bound", type=float, default=50.0, help="the longest p99 of a question, in ms (%(default)s)")
    parser.add_argument("--database", metavar="URL", help="that one, which is filled if it is empty, and left as it is")
    parser.add_argument("--only", default="", help="questions that contain this text")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 2_900 <= arguments.sessions <= 50_000_000:
        raise Refusal("--sessions is 2900 to 50000000")
    if arguments.runs < 1:
        raise Refusal("--runs is at least 1")
    expected_s = 300 + arguments.sessions / _SESSIONS_A_SECOND + 100 * arguments.runs * arguments.bound / 1000
    figures = await runner.measured(arguments, expected_s, measure, arguments.sessions)
    return int(figures is None or bool(figures.slow or figures.failed))


async def measure(arguments: argparse.Namespace, shown: Bar) -> QueryFigures:
    async with running_stack() as stack, _database(arguments.database) as database:
        fill_s = await _fill(database.url, arguments.sessions, shown)
        picked = await session_rows.pick(database.url, _SEED)
        chance = Chance(picked, _SEED)
        async with running_sessions(stack, database) as service, ReadPool(database.url, 2) as pool:
            api = Api(service.port, stack.api_key)
            questions = [*of_the_command_line(pool, chance), *of_the_api(api, chance)]
            asked = []
            for question in questions:
                if arguments.only in question.name:
                    shown.phase(question.name[:12])
                    asked.append(await _ask(question, arguments.runs, chance))
        return QueryFigures(
            bound_s=arguments.bound / 1000,
            runs=arguments.runs,
            fill_s=fill_s,
            bytes_on_disk=await session_rows.size_bytes(database.url),
            rows=await session_rows.rows_of(database.url, _TABLES),
            asked=asked,
        )


@contextlib.asynccontextmanager
async def _database(url: str | None) -> AsyncIterator[OwnPostgres]:
    if url is not None:
        yield OwnPostgres(url, 0)
        return
    async with running_postgres(session_rows.SETTINGS) as database:
        yield database


async def _fill(url: str, sessions: int, shown: Bar) -> float | None:
    if await session_rows.is_filled(url):
        return None
    shown.phase("filling")
    began = time.monotonic()
    await session_rows.fill(url, sessions, lambda share: shown.phase(f"filling {share:.0%}"))
    return round(time.monotonic() - began, 1)


async def _ask(question: Question, runs: int, chance: Chance) -> Asked:
    """All answers count, even on a new connection. The first failure ends the question."""
    seconds, again, failed = list[float](), list[float](), None
    try:
        for _ in range(runs):
            before = chance.random.getstate()
            seconds.append(await _timed(question))
            chance.random.setstate(before)
            again.append(await _timed(question))
    except (RunFailed, StoreAway, TooSlow) as error:
        failed = str(error) or type(error).__name__
    return Asked(question.name, distribution(seconds), distribution(again), failed)


async def _timed(question: Question) -> float:
    began = time.perf_counter()
    await question.ask()
    return time.perf_counter() - began
