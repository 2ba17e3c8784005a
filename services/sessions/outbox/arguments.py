"""The arguments of `python -m services.sessions outbox`: read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Final

from services.sessions.actions_arguments import Abouts, add_actions

_ABOUTS: Final = Abouts(
    name="ID",
    list="the rows that were set aside, by id; the default",
    show="one of them, with its data",
    replay="put it back, behind the rows that wait in its channel now",
)


def describe(parser: ArgumentParser) -> None:
    """Adds the arguments: `action` is list (or None), show, replay, delete, sql or install; `which` is the id of a row,
    None for all; `json` says how."""
    add = add_actions(parser, _ABOUTS, _one, None)
    add("sql", "print the tables, functions and the trigger, for a migration of the application")
    add("install", "make them in the database of outbox.url, as its user; existing ones stay as they are")


def _one(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ArgumentTypeError(f"expected the id of a row, such as 17, not {text!r}")
    return int(text)
