"""The arguments of `python -m services.sessions webhook-dead-letters`: read at each start, so this imports nothing
large."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import Final, NamedTuple

_JSON: Final = "for scripts: JSON instead of text"


class WhichLetters(NamedTuple):
    """The letters that the operator means: one by its number, or all (None)."""

    number: int | None


def describe_letters(parser: ArgumentParser) -> None:
    """Adds the arguments: `action` is list (or None), show, replay or delete; `which` is `WhichLetters`; `json` says
    how; `webhook` is the name of one, or ""."""
    about_all = ArgumentParser(add_help=False)
    about_all.add_argument("--json", action="store_true", default=SUPPRESS, help=_JSON)
    about_all.add_argument("--webhook", default=SUPPRESS, metavar="NAME", help="only letters of this webhook")
    parser.add_argument("--json", action="store_true", help=_JSON)
    parser.add_argument("--webhook", default="", metavar="NAME", help="only letters of this webhook")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", parents=[about_all], help="what was set aside, oldest first; the default")
    show = actions.add_parser("show", parents=[about_all], help="one of them, with its events")
    show.add_argument("which", type=_one, metavar="NUMBER", help="as `list` shows it")
    for name, about in (
        ("replay", "send it to its webhook again; it is removed if that succeeds"),
        ("delete", "remove it for good"),
    ):
        action = actions.add_parser(name, parents=[about_all], help=about)
        action.add_argument("which", type=_one_or_all, metavar="NUMBER|all", help="as `list` shows it, or all")


def _one(text: str) -> WhichLetters:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ArgumentTypeError(f"expected a number, such as 17, not {text!r}")
    return WhichLetters(int(text))


def _one_or_all(text: str) -> WhichLetters:
    return WhichLetters(None) if text == "all" else _one(text)
