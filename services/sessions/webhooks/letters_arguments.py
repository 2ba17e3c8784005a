"""The arguments of `python -m services.sessions webhook-dead-letters`: read at each start, so this imports nothing
large."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import Final, NamedTuple

from services.sessions.actions_arguments import Abouts, add_actions


class WhichLetters(NamedTuple):
    """The letters that the operator means: one by its number, or all (None)."""

    number: int | None


_ABOUTS: Final = Abouts(
    name="NUMBER",
    list="what was set aside, oldest first; the default",
    show="one of them, with its events",
    replay="send it to its webhook again; it is removed if that succeeds",
)


def describe_letters(parser: ArgumentParser) -> None:
    """Adds the arguments: `action` is list (or None), show, replay or delete; `which` is `WhichLetters`; `json` says
    how; `webhook` is the name of one, or ""."""
    shared = ArgumentParser(add_help=False)
    shared.add_argument("--webhook", default=SUPPRESS, metavar="NAME", help="only letters of this webhook")
    add_actions(parser, _ABOUTS, _one, WhichLetters(None), shared)
    parser.add_argument("--webhook", default="", metavar="NAME", help="only letters of this webhook")


def _one(text: str) -> WhichLetters:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ArgumentTypeError(f"expected a number, such as 17, not {text!r}")
    return WhichLetters(int(text))
