"""Builds read models anew beside the live ones, and puts them into their place."""

from __future__ import annotations

from services.chassis.postgres.pool import Database
from services.sessions.claims_postgres import Claim, OthersWork, Work, claimed
from services.sessions.printing import print_line
from services.sessions.projection import NAMES
from services.sessions.rebuilding.meeting import meet
from services.sessions.rebuilding.model_tables import models_of, tables_of
from services.sessions.rebuilding.reach import SLACK_MS
from services.sessions.rebuilding.workshop import NotRebuilt, Workshop
from services.sessions.store import Position


async def rebuild(workshop: Workshop, name: str, forget: bool) -> None:
    """Rebuilds the model `name`, or all. `forget`: drops rows that are older than the log, and those that depend on
    them.

    Raises `NotRebuilt`, and what `Refolding` raises.
    """
    try:
        async with claimed(workshop.pool, Work.REBUILDING) as held:
            await _rebuild(workshop, name, forget, held)
    except OthersWork:
        why = "a user is being erased, and a rebuild would bring them back: run the command again after the erasure"
        raise NotRebuilt(why) from None


async def _rebuild(workshop: Workshop, name: str, forget: bool, held: Claim) -> None:
    tables, live, refolding = tables_of(name), workshop.live, workshop.refolding
    reach = await workshop.begin()
    slack = -SLACK_MS if reach.is_whole else SLACK_MS
    older = await live.older(tables, max(0, reach.first_at + slack)) if reach.first_at else {"all tables": -1}
    if older and not forget:
        what = ", ".join(f"{rows:,} rows of {table}" for table, rows in older.items() if rows >= 0) or "all rows"
        raise NotRebuilt(f"{what} are older than the log, and would be lost: --forget-older-than-log drops them")
    await refolding.to(await live.position())
    workshop.bar.end()
    await live.analyze(tables)

    async def swap(database: Database, at: Position) -> None:
        await held.check()
        await workshop.check_letters(database)
        if not forget:
            await _check_whole(workshop)
        names = {model: NAMES[model] for model in models_of(name)}
        await live.take(database, tables, names, at)

    await meet(live, refolding, swap)
    models, upto = ", ".join(models_of(name)), refolding.position.sequence
    print_line(f"rebuilt {models} from {workshop.bar.facts:,} facts, up to message {upto:,} of the session log")


async def _check_whole(workshop: Workshop) -> None:
    lacks = "--forget-older-than-log builds without them"
    if lost := workshop.refolding.gaps.lost:
        raise NotRebuilt(f"{lost:,} messages are neither in the archive nor in the log, because of their age: {lacks}")
    if await workshop.live.is_behind():
        raise NotRebuilt(f"the live tables have facts that the log has lost: {lacks}")
    missing = workshop.refolding.gaps.missing
    if missing and not await workshop.live.has_erased():
        raise NotRebuilt(f"{missing:,} messages in the middle of the log are gone: {lacks}")
