"""The arguments shared by all commands about what was set aside. Read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

_JSON: Final = "for scripts: JSON instead of text"


class Abouts(NamedTuple):
    """The line of each action in `--help`. `name` says what names an item that was set aside, such as ID."""

    name: str
    list: str
    show: str
    replay: str


def add_actions(
    parser: ArgumentParser,
    abouts: Abouts,
    one: Callable[[str], T],
    everything: T,
    shared: ArgumentParser | None = None,
) -> Callable[[str, str], ArgumentParser]:
    """Adds `action`, which is list (or None), show, replay or delete; `which`, as `one` reads it, or `everything` for
    "all"; and `json`. `shared` has further options, which may stand before or behind an action.

    Returns a function that adds an action of the command itself, by its name and its line in `--help`.
    """

    def one_or_all(text: str) -> T:
        return everything if text == "all" else one(text)

    as_json = ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", default=SUPPRESS, help=_JSON)
    parents = [as_json] if shared is None else [as_json, shared]
    parser.add_argument("--json", action="store_true", help=_JSON)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", parents=parents, help=abouts.list)
    show = actions.add_parser("show", parents=parents, help=abouts.show)
    show.add_argument("which", type=one, metavar=abouts.name, help="as `list` shows it")
    for name, about in (("replay", abouts.replay), ("delete", "remove it for good")):
        action = actions.add_parser(name, parents=parents, help=about)
        action.add_argument("which", type=one_or_all, metavar=f"{abouts.name}|all", help="as `list` shows it, or all")
    return lambda name, about: actions.add_parser(name, help=about)
