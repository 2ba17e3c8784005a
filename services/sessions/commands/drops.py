"""`drops`: how many connections ended against their clients' will, and how."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from services.chassis.postgres.pool import Pool
from services.sessions.commands.meanings import ended_by, meaning
from services.sessions.commands.question import Question
from services.sessions.commands.screen import Screen, client_of, counted, share
from services.sessions.queries.drops_postgres import MAX_GROUPS, DropCount, DropCounts, Drops

_HEADS: Final = {
    "code": ("CODE", "MEANING", "ENDED BY"),
    "version": ("CLIENT",),
    "edge": ("EDGE",),
    "by": ("ENDED BY",),
}


async def ask(pool: Pool, question: Question) -> Drops:
    """The counts, by the arguments."""
    asked = question.asked
    return await DropCounts(pool).ask(question.period, asked.by, code=asked.code, with_goodbyes=asked.all)


def show(answer: Drops, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    what = "end" if answer.with_goodbyes else "drop"
    code = "" if question.asked.code is None else f" with code {question.asked.code}"
    if answer.total:
        screen.say(f"{counted(answer.total, what)}{code} {screen.period(answer.period)}.")
    else:
        screen.say(f"No {what}s{code} {screen.period(answer.period)}.")
    if answer.goodbyes:
        goodbyes = counted(answer.goodbyes, "goodbye")
        if answer.with_goodbyes:
            screen.say(f"Including {goodbyes}.")
        else:
            screen.say(f"{goodbyes} left out: --all includes goodbyes.")
    if not answer.total:
        return
    screen.say()
    heads = _HEADS[answer.by]
    rows = [(*_key(one), f"{one.count:,}", share(one.count, answer.total)) for one in answer.groups]
    screen.table((*heads, what.upper() + "S", "SHARE"), rows, numbers=(len(heads), len(heads) + 1))
    screen.rest(answer.groups, answer.total, MAX_GROUPS, what)
    screen.plot(answer.curve, answer.step_s, f"{what}s")


def _key(one: DropCount) -> tuple[str, ...]:
    if one.code is not UNSET:
        by = one.by or ""
        return str(one.code), meaning(one.code, by), ended_by(by)
    if one.by is not UNSET:
        return (ended_by(one.by),)
    if one.edge is not UNSET:
        return (one.edge,)
    return (client_of(one.client_name or "", one.client_version or ""),)
