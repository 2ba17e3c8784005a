"""Folds the log afresh, and compares the result with the live tables, at one position of both."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.commands.screen import counted
from services.sessions.overtaken import OvertakenSoFar
from services.sessions.overtaken_postgres import overtaken_so_far
from services.sessions.printing import print_line, printable
from services.sessions.rebuilding.comparison_postgres import Comparison, Difference, TablesAtOnce, tables_at_once
from services.sessions.rebuilding.meeting import meet
from services.sessions.rebuilding.model_tables import models_with, tables_of
from services.sessions.rebuilding.reach import SLACK_MS, Reach
from services.sessions.rebuilding.workshop import Workshop
from services.sessions.store import Position

_PRUNED_S: Final = 900.0  # rows of about this age may or may not be pruned already

_MAX_SHOWN: Final = 200  # characters of a value


async def verify(workshop: Workshop, name: str) -> bool:
    """Compares the model `name`, or all, and prints what differs. True if nothing does. Raises what `Refolding`
    raises."""
    reach = await workshop.begin()
    async with AsyncExitStack() as stack:
        tables: TablesAtOnce | None = None
        since: int | None = None

        async def take(database: Database, at: Position) -> None:
            nonlocal tables, since
            await workshop.check_letters(database)
            since = _whole_since(reach, workshop, await workshop.live.is_behind())
            tables = await stack.enter_async_context(tables_at_once(workshop.pool, workshop.schemas))

        await meet(workshop.live, workshop.refolding, take)
        workshop.bar.end()
        assert tables is not None
        found = await tables.compare(tables_of(name), since, float(workshop.settings.resume_window))
    gone = await overtaken_so_far(workshop.pool)
    _say(workshop, found, gone)
    return not any(one.differing for one in found)


def _whole_since(reach: Reach, workshop: Workshop, is_behind: bool) -> int | None:
    """From when on both should have everything, in Unix milliseconds; None: always. `is_behind`: the log has lost facts
    that the live tables have."""
    keep_s, whole_since = workshop.settings.keep, workshop.refolding.gaps.whole_since
    is_whole = reach.is_whole and not is_behind and not whole_since
    since = None if is_whole else max(reach.first_at, whole_since) + SLACK_MS
    kept_since = int((time.time() - keep_s + _PRUNED_S) * 1000) if keep_s else 0
    if reach.first_at < kept_since:
        since = max(since or 0, kept_since)
    return since


def _say(workshop: Workshop, found: list[Comparison], gone: list[OvertakenSoFar]) -> None:
    refolding = workshop.refolding
    if older := sum(one.older for one in found):
        print_line(f"{older:,} rows were not compared: they are older than the log, or depend on older rows")
    if left_out := len(refolding.left_out):
        print_line(f"{counted(left_out, 'dead letter')} in this part of the log: left out")
    if missing := refolding.gaps.missing:
        print_line(f"{missing:,} messages in the middle of the log are gone: erased, or deleted")
    if lost := refolding.gaps.lost:
        print_line(f"{lost:,} messages are neither in the archive nor in the log, because of their age")
    for epoch in gone:
        print_line(
            f"{counted(epoch.messages, 'message')} of the session log, between {epoch.first:,} and {epoch.last:,}, "
            f"went from it before they were folded; last noticed at {_time(epoch.noticed_at)} UTC. Their facts "
            "are in no table, and connections that they ended stay open there until their edge ends"
        )
    of_erased = sum(one.of_erased for one in found)
    if of_erased:
        where = ", ".join(f"{one.of_erased:,} of {one.table}" for one in found if one.of_erased)
        print_line(f"{of_erased:,} counts include users who have been erased since, which is expected: {where}")
    differing = [one for one in found if one.differing]
    for one in differing:
        print_line(f"{one.table}: {one.differing:,} of {one.rows:,} rows differ")
        for example in one.examples:
            _show(example)
        if one.differing > len(one.examples):
            print_line(f"  and {one.differing - len(one.examples):,} more")
    rows, at = sum(one.rows for one in found), f"message {refolding.position.sequence:,} of the session log"
    if differing:
        models = models_with({one.table for one in differing})
        commands = "; ".join(f"rebuild {model}" for model in models)  # whatever stands before "verify" here
        print_line(f"not equal, as of {at}. To rebuild these tables from the log, give in place of verify: {commands}")
    else:
        erased = ["counts that include erased users"] if of_erased else []
        but = [*erased, "what was dropped before it was folded"] if gone else erased
        also = f", but for {' and '.join(but)}" if but else ""
        print_line(f"equal{also}: {rows:,} rows of {len(found)} tables, as of {at}")


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _show(one: Difference) -> None:
    key = ", ".join(f"{name}={_value(value)}" for name, value in one.key.items())
    if one.live is None or one.folded is None:
        print_line(f"  {key}: {'only in the log' if one.live is None else 'only in the live table'}")
        return
    print_line(f"  {key}:")
    for name, value in one.live.items():
        if value != one.folded.get(name):
            print_line(f"    {name}: {_value(value)}, and by the log {_value(one.folded.get(name))}")


def _value(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return printable(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")
