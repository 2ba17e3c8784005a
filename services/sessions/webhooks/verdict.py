"""The result of a request to a webhook: taken, to be sent again, or refused for its contents. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Meaning(Enum):
    """What an answer means for the events of the request."""

    TAKEN = "taken"
    AGAIN = "again"  # the receiver fails, or is not set up correctly: the same request later
    REFUSED = "refused"  # the receiver does not want these very events


OUTCOMES: Final = ("taken", "refused", "status", "redirect", "timeout", "unreachable", "tls")
"""Values of the label `outcome`."""

_OF_CONTENT: Final = frozenset({400, 413, 415, 422})
"""Statuses with which receivers refuse the contents of a request. Others, such as 401, 404 and 429, say nothing about
them."""


class Verdict(NamedTuple):
    """The result of one request. `outcome` is one of `OUTCOMES`, `reason` is for the operator."""

    meaning: Meaning
    outcome: str
    reason: str = ""


TAKEN: Final = Verdict(Meaning.TAKEN, "taken")


REASON_LENGTH: Final = 200
"""Characters of a reason, for the log, `/readyz` and dead letters. A library may quote what the receiver sent."""


def failed(outcome: str, reason: str) -> Verdict:
    """A request that has to be sent again."""
    return Verdict(Meaning.AGAIN, outcome, reason[:REASON_LENGTH])


def of_status(status: int) -> Verdict:
    """The verdict of an answer with this status."""
    if 200 <= status < 300:
        return TAKEN
    if status in _OF_CONTENT:
        return Verdict(Meaning.REFUSED, "refused", f"status {status}")
    if 300 <= status < 400:
        return failed("redirect", f"status {status}: redirects are not followed, set the address that it names")
    return failed("status", f"status {status}")


FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
REFUSALS: Final = 3
"""How often a receiver refuses the same events before they count as refused: a deployment may be in progress."""


def pause_s(attempt: int) -> float:
    """How long to wait after the attempt of this number, from 1 on: twice as long each time, up to a minute."""
    return min(FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 30), LONGEST_PAUSE_S)
