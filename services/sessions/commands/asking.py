"""`python -m services.sessions who`, `why`, ...: asks PostgreSQL one question and prints the answer.

Exits with 1 if PostgreSQL cannot answer or does not know the subject of the question, and with 2 for arguments that
make no sense. An answer without rows is an answer, too.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, NamedTuple

from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.commands import channels, clock, drops, edges, refusals, timeline, users, versions, who, why
from services.sessions.commands.kept import caution
from services.sessions.commands.question import BadQuestion, NotFound, Question
from services.sessions.commands.screen import Screen
from services.sessions.printing import print_json, to_reader
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSettings


class _Command(NamedTuple):
    ask: Callable[[Pool, Question], Coroutine[Any, Any, Any]]
    show: Callable[[Any, Question, Screen], None]


_COMMANDS: Final = {
    "who": _Command(who.ask, who.show),
    "why": _Command(why.ask, why.show),
    "timeline": _Command(timeline.ask, timeline.show),
    "drops": _Command(drops.ask, drops.show),
    "channels": _Command(channels.ask, channels.show),
    "versions": _Command(versions.ask, versions.show),
    "refusals": _Command(refusals.ask, refusals.show),
    "edges": _Command(edges.ask, edges.show),
    "users": _Command(users.ask, users.show),
}


def run(settings: SessionsSettings, asked: Namespace) -> None:
    """Asks what `asked.command` names and prints the answer."""
    command, question = _COMMANDS[asked.command], Question(asked, clock.now(), settings.sessions.keep)
    try:
        answer = asyncio.run(_ask(settings.postgres.url, command, question))
    except BadQuestion as error:
        sys.stderr.write(f"fairlead-sessions: {error}\n")
        sys.exit(2)
    except (StoreAway, SchemaRefused, NotFound) as error:
        sys.exit(f"fairlead-sessions: {error}")
    with suppress(AttributeError):  # a terminal replaces letters that it cannot show
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # whatever stands in for it

    def show() -> bool:
        screen = Screen(question.now)
        if asked.json:
            print_json(answer)
        else:
            command.show(answer, question, screen)
        if incomplete := caution(answer, question, screen):
            _say(incomplete, screen, for_a_script=asked.json)
        return True

    to_reader(show)


def _say(caution: str, screen: Screen, for_a_script: bool) -> None:
    if for_a_script:
        sys.stderr.write(f"fairlead-sessions: {caution}\n")
    else:
        screen.say()
        screen.say(caution)


async def _ask(url: str, command: _Command, question: Question) -> Any:
    await SCHEMA.check(url)
    async with Pool(url, 1, for_reading=True) as pool:
        return await command.ask(pool, question)
