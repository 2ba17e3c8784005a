"""The arguments of `python -m services.sessions outbox`: read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError

_JSON = "for scripts: JSON instead of text"


def describe(parser: ArgumentParser) -> None:
    """Adds the arguments: `action` is list (or None), show, replay, delete, sql or install; `which` is the id of a row,
    None for all; `json` says how."""
    as_json = ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", default=SUPPRESS, help=_JSON)
    parser.add_argument("--json", action="store_true", help=_JSON)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", parents=[as_json], help="the rows that were set aside, by id; the default")
    show = actions.add_parser("show", parents=[as_json], help="one of them, with its data")
    show.add_argument("which", type=_one, metavar="ID", help="as `list` shows it")
    for name, about in (
        ("replay", "put it back, behind the rows that wait in its channel now"),
        ("delete", "remove it for good"),
    ):
        action = actions.add_parser(name, parents=[as_json], help=about)
        action.add_argument("which", type=_one_or_all, metavar="ID|all", help="as `list` shows it, or all")
    actions.add_parser("sql", help="print the tables, functions and the trigger, for a migration of the application")
    actions.add_parser("install", help="make them in the database of outbox.url, as its user; what is there stays")


def _one(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ArgumentTypeError(f"expected the id of a row, such as 17, not {text!r}")
    return int(text)


def _one_or_all(text: str) -> int | None:
    return None if text == "all" else _one(text)
