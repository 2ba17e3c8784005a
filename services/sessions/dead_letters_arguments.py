"""The arguments of `python -m services.sessions dead-letters`: read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import Final, NamedTuple

_JSON: Final = "for scripts: JSON instead of text"


class Which(NamedTuple):
    """The letters that the operator means: all (None), or those of a sequence; in one epoch of the log, or any ("")."""

    sequence: int | None
    epoch: str = ""


def describe(parser: ArgumentParser) -> None:
    """Adds the arguments: `action` is list (or None), show, replay or delete; `which` is a `Which`; `json` says how."""
    as_json = ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", default=SUPPRESS, help=_JSON)
    parser.add_argument("--json", action="store_true", help=_JSON)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", parents=[as_json], help="what was put aside, oldest first; the default")
    show = actions.add_parser("show", parents=[as_json], help="one of them, with its bytes")
    show.add_argument("which", type=_one, metavar="SEQUENCE", help="as `list` shows it")
    for name, about in (
        ("replay", "fold it into the tables as they are now; it is removed if that succeeds"),
        ("delete", "remove it for good"),
    ):
        action = actions.add_parser(name, parents=[as_json], help=about)
        action.add_argument("which", type=_one_or_all, metavar="SEQUENCE|all", help="as `list` shows it, or all")


def _one(text: str) -> Which:
    epoch, _, sequence = text.rpartition("/")
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) < 20):
        raise ArgumentTypeError(f"expected a sequence, such as 17, or EPOCH/17, not {text!r}")
    return Which(int(sequence), epoch)


def _one_or_all(text: str) -> Which:
    return Which(None) if text == "all" else _one(text)
