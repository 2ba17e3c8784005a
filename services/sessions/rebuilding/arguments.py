"""The arguments of `rebuild` and `verify`: read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import ArgumentParser

from services.sessions.rebuilding.model_tables import ALL, MODELS


def describe_rebuild(parser: ArgumentParser) -> None:
    """Adds the arguments: `name`, and `forget`."""
    parser.add_argument("name", metavar="NAME", choices=(*MODELS, ALL), help=f"{', '.join(MODELS)}, or all")
    parser.add_argument(
        "--forget-older-than-log",
        dest="forget",
        action="store_true",
        help="drop rows that are older than the log and its archive, and cannot be made again",
    )


def describe_verify(parser: ArgumentParser) -> None:
    """Adds the argument `name`."""
    names = f"{', '.join(MODELS)}, or all, which is the default"
    parser.add_argument("name", metavar="NAME", nargs="?", choices=(*MODELS, ALL), default=ALL, help=names)
