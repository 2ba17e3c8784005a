"""`edges`: the runs of edges, with their hangs, drains and deaths."""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.commands.question import Question
from services.sessions.commands.screen import Screen, counted, newest, spoken
from services.sessions.queries.edges_postgres import EdgeRun, Edges
from services.sessions.queries.periods import Period

_COLUMNS: Final = ("EDGE", "INSTANCE", "SOFTWARE", "STARTED", "LIVED", "STATE", "OPENED", "ENDED")


class EdgeRuns(Struct):
    """The runs in a period; `more`: there were others, beyond the limit."""

    period: Period
    edges: list[EdgeRun]
    more: bool


async def ask(pool: Pool, question: Question) -> EdgeRuns:
    """The runs, by the arguments."""
    limit = question.limit
    found = await Edges(pool).during(question.period, limit + 1)
    return EdgeRuns(question.period, found[:limit], len(found) > limit)


def show(answer: EdgeRuns, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    if not answer.edges:
        screen.say(f"No edge has written facts {screen.period(answer.period)}.")
        return
    states = Counter(one.state for one in answer.edges)
    ends = ", ".join(
        f"{states[state]} {state}" for state in ("running", "draining", "stopped", "lost") if states[state]
    )
    number, whole = len(answer.edges), screen.period(answer.period)
    if answer.more:
        screen.say(f"At least {counted(number, 'run')} of edges {whole}; {newest(number)}: {ends}.")
    else:
        screen.say(f"{counted(number, 'run')} of edges {whole}: {ends}.")
    screen.say()
    screen.table(_COLUMNS, [_row(one, screen) for one in answer.edges], numbers=(6, 7), ids=(1,), below=5)
    if answer.more:
        screen.say()
        screen.say("There are more: --limit shows them, --since and --until narrow it down.")


def _row(one: EdgeRun, screen: Screen) -> tuple[str, ...]:
    return (
        one.edge,
        one.instance,
        one.software or "?",
        screen.time(one.began_at) if one.started_at else f"before {screen.time(one.first_at)}",
        spoken((one.ended_at or screen.now) - one.began_at),
        became(one, screen),
        f"{one.opened:,}",
        f"{one.ended:,}",
    )


def became(one: EdgeRun, screen: Screen) -> str:
    """What became of an edge, in words."""
    drained = "" if one.draining_at is None else f"draining since {screen.time(one.draining_at)}"
    before = [_hung(one, screen), drained] if _hung_first(one) else [drained, _hung(one, screen)]
    match one.state:
        case "running":
            told = ["running", *before]
        case "draining":
            told = before
        case "stopped":
            told = [*before, f"stopped at {screen.time(one.stopped_at)}"]
        case "lost":
            told = [*before, f"lost at {screen.time(one.lost_at)}"]
    return ", ".join(filter(None, told))


def _hung(one: EdgeRun, screen: Screen) -> str:
    """When it hung the last time, and how many times it did."""
    if one.found_at is None:
        return ""
    began = "" if one.hung_at is None else f"from {screen.time(one.hung_at)} "
    when = f"{began}{'to' if began else 'until'} {screen.time(one.found_at)}"
    return f"hung {when}" if one.times_hung == 1 else f"hung {one.times_hung:,} times, last {when}"


def _hung_first(one: EdgeRun) -> bool:
    hung_at = one.hung_at or one.found_at
    return hung_at is not None and one.draining_at is not None and hung_at < one.draining_at
