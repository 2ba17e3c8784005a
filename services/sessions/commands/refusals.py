"""`refusals`: who was refused, how often and why."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from services.chassis.postgres.pool import Pool
from services.sessions.commands.question import Question
from services.sessions.commands.refusal_meanings import why_refused
from services.sessions.commands.screen import ANONYMOUS, Screen, counted, share
from services.sessions.queries.refusals_postgres import MAX_GROUPS, MAX_READ, RefusalCount, RefusalCounts, Refusals

_HEADS: Final = {
    "action": ("WANTED", "CODE", "MEANING"),
    "code": ("CODE", "MEANING"),
    "user": ("USER", "WANTED", "CHANNEL", "CODE", "REASON", "FROM", "LAST"),
}


async def ask(pool: Pool, question: Question) -> Refusals:
    """The counts, by the arguments."""
    return await RefusalCounts(pool).ask(question.period, question.asked.by)


def show(answer: Refusals, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    if not answer.total and not answer.groups:
        screen.say(f"Nobody was refused {screen.period(answer.period)}.")
        return
    screen.say(f"{counted(answer.total, 'refusal')} {screen.period(answer.period)}.")
    screen.say()
    heads = _HEADS[answer.by]
    rows = [(*_key(one, screen), f"{one.count:,}", share(one.count, answer.total)) for one in answer.groups]
    below = heads.index("REASON") if "REASON" in heads else None
    screen.table((*heads, "REFUSALS", "SHARE"), rows, numbers=(len(heads), len(heads) + 1), below=below)
    screen.rest(answer.groups, answer.total, MAX_GROUPS, "refusal")
    if answer.more:
        screen.say()
        screen.say(f"The table counts only the newest {MAX_READ:,} records: a shorter period has them all.")
    screen.plot(answer.curve, answer.step_s, "refusals")


def _key(one: RefusalCount, screen: Screen) -> tuple[str, ...]:
    code = str(one.code)
    means = why_refused(0 if one.code is UNSET else one.code, "" if one.action is UNSET else one.action)
    if one.user is not UNSET:
        last = screen.time(None if one.last_at is UNSET else one.last_at)
        return _who(one), one.action or "", _channel(one), code, one.reason or "", one.address or "", last
    if one.action is not UNSET:
        return one.action, code, means
    return code, means


def _who(one: RefusalCount) -> str:
    return one.user or (ANONYMOUS if one.anonymous is True else "(unknown)")


def _channel(one: RefusalCount) -> str:
    channel, others = one.channel or "", (one.channels or 1) - 1
    return f"{channel} and {others:,} more" if others > 0 else channel
