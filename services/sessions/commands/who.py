"""`who`: the sessions that were connected at a moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from msgspec import UNSET

from services.chassis.postgres.pool import Pool
from services.sessions.commands.question import BadQuestion, Question
from services.sessions.commands.screen import ANONYMOUS, Screen, client_of, counted, newest, share
from services.sessions.printing import printable
from services.sessions.queries.presence_postgres import Presence, Present, PresentSession
from services.sessions.queries.present_counts_postgres import MAX_GROUPS, PresenceCounts, PresentCount, PresentCounts

_COLUMNS: Final = ("USER", "EDGE", "CLIENT", "ADDRESS", "SINCE", "SESSION", "CHANNELS")
_HEADS: Final = {"user": "USER", "address": "ADDRESS", "version": "CLIENT", "edge": "EDGE"}
_CHANNELS: Final = 4
_SOON: Final = timedelta(seconds=1)


async def ask(pool: Pool, question: Question) -> Present | PresentCounts:
    """Who was there, by the arguments."""
    asked = question.asked
    at = asked.at or question.now
    if asked.by is not None:
        if asked.user is not None:
            raise BadQuestion("expected --by or --user, not both: a user has few sessions")
        question.takes_no("limit", where="with --by: all sessions are counted")
        return await PresenceCounts(pool).at(at, asked.by, channel=asked.channel, edge=asked.edge)
    return await Presence(pool).at(at, question.limit, user=asked.user, channel=asked.channel, edge=asked.edge)


def show(answer: Present | PresentCounts, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    asked = question.asked
    number = answer.total if isinstance(answer, PresentCounts) else len(answer.sessions)
    is_now = question.now - answer.at < _SOON
    when = f"now, at {screen.time(answer.at)}" if is_now else f"at {screen.exact(answer.at)}"
    when += f" ({screen.zone})"
    whose = "" if asked.user is None else f" of {printable(asked.user) or 'anonymous clients'}"
    where = f" on {printable(asked.edge)}" if asked.edge is not None else ""
    where += f" in {printable(asked.channel)}" if asked.channel is not None else ""
    if not number:
        screen.say(f"No session{whose} {'is' if is_now else 'was'} connected{where} {when}.")
        return
    is_there = ("is" if number == 1 else "are") if is_now else ("was" if number == 1 else "were")
    least = "At least " if answer.more else ""
    screen.say(f"{least}{counted(number, 'session')}{whose} {is_there} connected{where} {when}.")
    screen.say()
    if isinstance(answer, PresentCounts):
        rows = [(_key(each), f"{each.count:,}", share(each.count, number)) for each in answer.groups]
        screen.table((_HEADS[answer.by], "SESSIONS", "SHARE"), rows, numbers=(1, 2))
        screen.rest(answer.groups, number, MAX_GROUPS, "session")
        if answer.more:
            screen.say()
            screen.say(f"Only {number:,} are counted: --edge and --channel narrow it down.")
        return
    if screen.table(_COLUMNS, [_row(each, screen) for each in answer.sessions], ids=(5,), below=6):
        screen.say()
        screen.say("Ids are shortened: `timeline` accepts them like this, --json has them in full.")
    if answer.more:
        screen.say()
        these = "This is" if number == 1 else "These are"
        screen.say(f"{these} {newest(number)}: --limit shows more, --user, --edge, --channel fewer.")


def _key(one: PresentCount) -> str:
    if one.user is not UNSET:
        return one.user or ANONYMOUS
    if one.address is not UNSET:
        return one.address or "(not recorded)"
    if one.edge is not UNSET:
        return one.edge
    return client_of(one.client_name or "", one.client_version or "")


def _row(one: PresentSession, screen: Screen) -> tuple[str, ...]:
    channels = ", ".join(one.channels[:_CHANNELS])
    if one.channel_count > _CHANNELS:
        channels += f" and {one.channel_count - _CHANNELS} more"
    return (
        one.user or ANONYMOUS,
        one.edge,
        client_of(one.client_name, one.client_version),
        one.address,
        screen.time(one.opened_at),
        one.id,
        channels,
    )
