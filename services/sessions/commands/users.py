"""`users`: who was seen, when first and last, with which devices and versions."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.commands.question import NotFound, Question
from services.sessions.commands.screen import Screen, client_of, counted
from services.sessions.printing import printable
from services.sessions.queries.periods import Period
from services.sessions.queries.users_postgres import Device, KnownUser, SeenUser, Users

_USERS: Final = ("USER", "FIRST SEEN", "LAST SEEN", "SESSIONS", "CONNECTIONS", "DEVICES", "VERSIONS")
_DEVICES: Final = ("CLIENT", "SID", "FIRST SEEN", "LAST SEEN", "SESSIONS", "CONNECTIONS")


class SeenUsers(Struct):
    """The users who were connected in a period, latest arrival first; `more`: there were others, beyond the limit."""

    period: Period
    users: list[SeenUser]
    more: bool


async def ask(pool: Pool, question: Question) -> SeenUsers | KnownUser:
    """The users, or one of them, by the arguments."""
    asked = question.asked
    if asked.user is None:
        period, limit = question.period, question.limit
        found = await Users(pool).seen(period, limit + 1)
        return SeenUsers(period, found[:limit], len(found) > limit)
    question.takes_no("since", "until", "limit", where="with a USER: everything that is known of one is shown")
    one = await Users(pool).one(asked.user)
    if one is None:
        raise NotFound(f"no user {printable(asked.user)!r} is known: `users` lists those who were seen last")
    return one


def show(answer: SeenUsers | KnownUser, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    if isinstance(answer, KnownUser):
        _show_one(answer, screen)
        return
    if not answer.users:
        screen.say(f"Nobody was seen {screen.period(answer.period)}.")
        return
    least = "At least " if answer.more else ""
    number = counted(len(answer.users), "user")
    screen.say(f"{least}{number} seen {screen.period(answer.period)}, latest arrival first.")
    screen.say()
    rows = [
        (
            one.user,
            screen.time(one.first_seen),
            _last_seen(one, screen),
            f"{one.sessions:,}",
            f"{one.connections:,}",
            str(one.devices),
            str(one.versions),
        )
        for one in answer.users
    ]
    screen.table(_USERS, rows, numbers=range(3, 7))
    if answer.more:
        screen.say()
        screen.say("There are more: --limit shows them.")


def _last_seen(one: SeenUser | Device, screen: Screen) -> str:
    return "now" if one.connected else screen.time(one.last_seen)


def _show_one(one: KnownUser, screen: Screen) -> None:
    first = min(each.first_seen for each in one.devices)
    now = counted(one.connected, "session") + " connected now" if one.connected else "not connected now"
    screen.say(f"{printable(one.user)}: first seen {screen.time(first)}, {now} ({screen.zone}).")
    screen.say()
    rows = [
        (
            client_of(each.client_name, each.client_version),
            each.session_key,
            screen.time(each.first_seen),
            _last_seen(each, screen),
            f"{each.sessions:,}",
            f"{each.connections:,}",
        )
        for each in one.devices
    ]
    screen.table(_DEVICES, rows, numbers=(4, 5))
