"""`versions`: which client versions are connected, how many of their connections were dropped, and what changed since a
deploy."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.commands.meanings import meaning
from services.sessions.commands.question import BadQuestion, NotFound, Question
from services.sessions.commands.refusal_meanings import why_refused
from services.sessions.commands.screen import Screen, client_of, counted
from services.sessions.printing import printable
from services.sessions.queries.drops_postgres import DropCounts
from services.sessions.queries.edges_postgres import Deploy, Edges
from services.sessions.queries.periods import MINUTE_S, Period, ceiling, floor
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.versions_postgres import VersionCounts, VersionQueries, Versions

_USED: Final = ("CLIENT", "SESSIONS NOW", "OPENED", "ENDED", "DROPPED", "DROP RATE")
_CHANGED: Final = ("CLIENT", "SESSIONS NOW", "OPENED", "BEFORE", "DROPPED", "BEFORE", "DROP RATE", "BEFORE")
_RATES: Final = (6, 7)
"""Two columns to compare. Without its partner, BEFORE would seem to belong to another column."""
_WHAT: Final = "Sessions are those that are connected now; the other numbers count connections."
_CODES: Final = ("WHAT", "CODE", "MEANING", "SINCE", "BEFORE")


class CodeChange(Struct):
    """How often connections were dropped with a code (`by`: by whom), or clients were refused with it (`action`: what
    they wanted), in the period and before."""

    action: str
    code: int
    by: str
    during: int
    before: int


class VersionReport(Struct):
    """The versions; and, if the question named a moment or a deploy, what changed since then. `deploy`: the deploy of
    edges, if that was asked for."""

    versions: Versions
    compared: bool
    deploy: Deploy | None
    changes: list[CodeChange]


async def ask(pool: Pool, question: Question) -> VersionReport:
    """The versions, by the arguments. Raises `NotFound` if there was no deploy."""
    asked, deploy = question.asked, None
    if asked.since_deploy and asked.before is not None:
        raise BadQuestion("expected --before or --since-deploy, not both")
    if asked.since_deploy or asked.before is not None:
        question.takes_no("since", where="with --before or --since-deploy, which say where the period begins")
    period = question.period
    if asked.since_deploy:
        deploy = await Edges(pool).last_deploy(question.now)
        if deploy is None:
            raise NotFound(
                "no deploy is known: all edges that started run the same version; --before TIME compares too"
            )
    if deploy is None and asked.before is None:
        return VersionReport(await VersionQueries(pool).ask(period), False, None, [])
    # A minute is counted once. The minute of a deploy has the drains that belong to it, so it counts as since. For a
    # moment that the operator names, nothing that came before it may count as since.
    since = floor(deploy.at, MINUTE_S) if deploy is not None else ceiling(asked.before, MINUTE_S)
    if since >= period.rounded(MINUTE_S).until:
        minute = "--until in a later minute than the moment to compare with"
        if not asked.until:
            minute = "--before in an earlier minute than this one"
        raise BadQuestion(f"expected {minute}: counts are of whole minutes")
    versions = await VersionQueries(pool).ask(Period(since, period.until))
    return VersionReport(versions, True, deploy, await _changes(pool, versions))


async def _changes(pool: Pool, versions: Versions) -> list[CodeChange]:
    counts: dict[tuple[str, int, str], list[int]] = {}
    for place, each in enumerate((versions.period, versions.before)):
        for drop in (await DropCounts(pool).ask(each)).groups:
            counts.setdefault(("", drop.code or 0, drop.by or ""), [0, 0])[place] = drop.count
        for refusal in (await RefusalCounts(pool).ask(each, "action")).groups:
            counts.setdefault((refusal.action or "", refusal.code or 0, ""), [0, 0])[place] = refusal.count
    changes = [CodeChange(*key, *two) for key, two in counts.items()]
    return sorted(changes, key=lambda one: (-abs(one.during - one.before), one.action, one.code, one.by))


def show(answer: VersionReport, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    period, versions = answer.versions.period, answer.versions.versions
    if answer.deploy is not None:
        deploy = answer.deploy
        screen.say(
            f"Deploy at {screen.time(deploy.at)}: {printable(deploy.before) or '?'} -> {printable(deploy.software)},"
            f" first on {printable(deploy.edge)}."
        )
    if not versions:
        screen.say(f"No client is connected, and none was {screen.period(period)}.")
        return
    if not answer.compared:
        screen.say(f"{counted(len(versions), 'version')} of clients {screen.period(period)}. {_WHAT}")
        screen.say()
        rows = [
            (
                client_of(one.client_name, one.client_version),
                *(f"{each:,}" for each in (one.sessions, one.during.opened, one.during.ended, one.during.dropped)),
                _rate(one.during),
            )
            for one in versions
        ]
        screen.table(_USED, rows, numbers=range(1, 6))
        _say_more(answer.versions, screen)
        return
    screen.say(
        f"What changed {screen.period(period)}, against as long before.{_of_the_minute(answer, question, screen)}"
    )
    screen.say(f"{_WHAT} DROPPED is of those that ended.")
    screen.say()
    rows = []
    for one in versions:
        now, before = one.during, one.before
        numbers = (one.sessions, now.opened, before.opened)
        name = client_of(one.client_name, one.client_version)
        ends = (_dropped(now), _dropped(before), _rate(now), _rate(before))
        rows.append((name, *(f"{each:,}" for each in numbers), *ends))
    screen.table(_CHANGED, rows, numbers=range(1, 8), together=_RATES)
    _say_more(answer.versions, screen)
    screen.say()
    if not answer.changes:
        screen.say("Nothing was dropped or refused, neither since nor before.")
        return
    screen.table(
        _CODES,
        [
            (
                f"{one.action} refused" if one.action else "dropped",
                str(one.code),
                why_refused(one.code, one.action) if one.action else meaning(one.code, one.by),
                f"{one.during:,}",
                f"{one.before:,}",
            )
            for one in answer.changes
        ],
        numbers=(3, 4),
    )


def _of_the_minute(answer: VersionReport, question: Question, screen: Screen) -> str:
    """Says on which side the minute of the dividing moment counts; "" if the moment is at the start of a minute."""
    at, begins = answer.deploy.at if answer.deploy else question.asked.before, answer.versions.period.since
    if at == begins:
        return ""
    minute = screen.time(floor(at, MINUTE_S), seconds=False)
    return f" The minute of {minute} counts as {'since' if begins < at else 'before'}."


def _say_more(versions: Versions, screen: Screen) -> None:
    if versions.more:
        screen.say()
        screen.say(f"These are the {len(versions.versions)} most used. There are others.")


def _dropped(counts: VersionCounts) -> str:
    return f"{counts.dropped:,} of {counts.ended:,}"


def _rate(counts: VersionCounts) -> str:
    rate = counts.drop_rate
    return "" if rate is None else f"{100 * rate:.0f} %"
