"""The arguments of `python -m services.sessions dead-letters`: read at each start, so this imports nothing large."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Final, NamedTuple

from services.sessions.actions_arguments import Abouts, add_actions


class Which(NamedTuple):
    """The letters that the operator means: all (None), or those with a sequence; in one epoch of the log, or any
    ("")."""

    sequence: int | None
    epoch: str = ""


_ABOUTS: Final = Abouts(
    name="SEQUENCE",
    list="what was set aside, oldest first; the default",
    show="one of them, with its bytes",
    replay="fold it into the tables as they are now; it is removed if that succeeds",
)


def describe(parser: ArgumentParser) -> None:
    """Adds the arguments: `action` is list (or None), show, replay or delete; `which` is a `Which`; `json` says how."""
    add_actions(parser, _ABOUTS, _one, Which(None))


def _one(text: str) -> Which:
    epoch, _, sequence = text.rpartition("/")
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) < 20):
        raise ArgumentTypeError(f"expected a sequence, such as 17, or EPOCH/17, not {text!r}")
    return Which(int(sequence), epoch)
