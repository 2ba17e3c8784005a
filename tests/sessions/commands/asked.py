"""Commands as an operator gives them, at the moment of a story, in this process."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from services.sessions.__main__ import COMMANDS
from services.sessions.commands import clock
from services.sessions.settings import from_environ


@contextmanager
def zone(rules: str) -> Iterator[None]:
    """The local zone is this one, with the changes of clocks that its rules tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", rules)
        time.tzset()
        yield
    time.tzset()


@contextmanager
def at_moment(now: datetime) -> Iterator[None]:
    """It is `now`, in a zone without summer time, UTC."""
    with zone("UTC"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: now)
        yield


def run(url: str, *arguments: str) -> int:
    """Does what `python -m services.sessions ARGUMENTS` does, with the database `url`. Returns the exit code; what it
    prints, it prints."""
    parser = ArgumentParser("python -m services.sessions")
    commands = parser.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        command.describe(commands.add_parser(name))
    try:
        asked = parser.parse_args(arguments)
        COMMANDS[asked.command].run(from_environ({"FAIRLEAD_POSTGRES_URL": url}), asked)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)  # noqa: T201 - as Python does, but to the same stream
            return 1
        return end.code or 0
    return 0
