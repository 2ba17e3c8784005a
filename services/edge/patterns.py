"""Regular expressions of the settings, which are matched against what anybody may send. Pure."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(
    r"""
      \\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?\#[^)]*\) | \(\?[aiLmsux-]+\) | \(\?P=\w+\)
    | (?P<open> \((?:\?(?:P<\w+>|[aiLmsux-]*:|<?[=!]|>|\(\w+\)))? )
    | (?P<close> \) )
    | (?P<choice> \| )
    | (?P<exact> \{\d+\} )
    | (?P<repeat> [*+?] | \{\d*,\d*\} )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def check_effort(pattern: str) -> None:
    """Raises ValueError if it repeats a group in which something is repeated or chosen, such as (a+)+: there may be
    texts of 40 characters for which the match takes days, during which an edge does nothing else.

    Some such patterns are harmless, but it is hard to tell which ones, and all can be written differently.
    """
    groups, varied = [False], False  # of each open group, and of the one that has just ended
    for part in _PART.finditer(pattern):
        kind = part.lastgroup
        if varied and kind in ("exact", "repeat") and part[0] != "?":
            raise ValueError(
                f"expected no repeat ({part[0]}) after a group with a repeat or a choice in it, as some texts would "
                "take for ever; write a class of characters, such as [a-z.]+ in place of ([a-z]+[.])+"
            )
        varied = False
        if kind == "open":
            groups.append(False)
        elif kind == "close":
            varied = groups.pop()
            groups[-1] = groups[-1] or varied
        elif kind in ("choice", "repeat"):
            groups[-1] = True
