"""`who`: the sessions that were connected at a moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from services.chassis.postgres.pool import Pool
from services.sessions.commands.question import Question
from services.sessions.commands.screen import Screen, client_of, counted
from services.sessions.printing import printable
from services.sessions.queries.presence_postgres import Presence, Present, PresentSession

_COLUMNS: Final = ("USER", "EDGE", "CLIENT", "ADDRESS", "SINCE", "SESSION", "CHANNELS")
_CHANNELS: Final = 4
_SOON: Final = timedelta(seconds=1)


async def ask(pool: Pool, question: Question) -> Present:
    """Who was there, by the arguments."""
    asked = question.asked
    at = asked.at or question.now
    return await Presence(pool).at(at, asked.limit, user=asked.user, channel=asked.channel, edge=asked.edge)


def show(answer: Present, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    asked, one = question.asked, len(answer.sessions) == 1
    is_now = question.now - answer.at < _SOON
    when = f"{'now, ' if is_now else ''}at {screen.time(answer.at)} ({screen.zone})"
    whose = f" of {printable(asked.user)}" if asked.user is not None else ""
    where = f" on {printable(asked.edge)}" if asked.edge is not None else ""
    where += f" in {printable(asked.channel)}" if asked.channel is not None else ""
    if not answer.sessions:
        screen.say(f"No session{whose} {'is' if is_now else 'was'} connected{where} {when}.")
        return
    is_there = ("is" if one else "are") if is_now else ("was" if one else "were")
    least = "At least " if answer.more else ""
    screen.say(f"{least}{counted(len(answer.sessions), 'session')}{whose} {is_there} connected{where} {when}.")
    screen.say()
    screen.table(_COLUMNS, [_row(each, screen) for each in answer.sessions])
    if answer.more:
        screen.say()
        screen.say(f"These are the {len(answer.sessions)} newest: --limit shows more, --user, --edge, --channel fewer.")


def _row(one: PresentSession, screen: Screen) -> tuple[str, ...]:
    channels = ", ".join(one.channels[:_CHANNELS])
    if one.channel_count > _CHANNELS:
        channels += f" and {one.channel_count - _CHANNELS} more"
    return (
        one.user or "(anonymous)",
        one.edge,
        client_of(one.client_name, one.client_version),
        one.address,
        screen.time(one.opened_at),
        one.id,
        channels,
    )
