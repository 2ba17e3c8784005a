"""The arguments of `export-user` and `erase-user`: read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import ArgumentParser


def describe_export(parser: ArgumentParser) -> None:
    """Adds the arguments: `user`, and `output`, a path or None."""
    parser.add_argument("user", metavar="USER", help="the user id")
    parser.add_argument("--output", metavar="FILE", help="a new file that only you may read; otherwise stdout")


def describe_erase(parser: ArgumentParser) -> None:
    """Adds the arguments: `user`, and `yes`, `dry_run` and `disconnect`."""
    parser.add_argument("user", metavar="USER", help="the user id")
    parser.add_argument("--yes", action="store_true", help="do not ask for the user id again")
    parser.add_argument("--dry-run", action="store_true", help="say what would be erased, and erase nothing")
    parser.add_argument("--disconnect", action="store_true", help="end the user's connections first")
