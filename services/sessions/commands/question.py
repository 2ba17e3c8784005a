"""What an operator asked, and at which moment."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from typing import NamedTuple

from services.sessions.queries.periods import Period


class NotFound(Exception):
    """The subject of the question is unknown. The text says how to find others."""


class BadQuestion(Exception):
    """The arguments make no sense together. The text says what was expected."""


class Question(NamedTuple):
    """The arguments, as `arguments` names them, and the moment at which they were given. Sessions are kept for `keep_s`
    seconds after they end; 0: for ever."""

    asked: Namespace
    now: datetime
    keep_s: float = 0

    @property
    def period(self) -> Period:
        """From `since` to `until`. By default `until` is now, and `since` the default length before it, to the second.
        Raises `BadQuestion` if the period is empty."""
        until: datetime = self.asked.until or self.now
        since: datetime = self.asked.since or (until - self.asked.default_period).replace(microsecond=0)
        if since >= until:
            raise BadQuestion(f"expected --since to be before {'--until' if self.asked.until else 'now'}")
        return Period(since, until)

    @property
    def limit(self) -> int:
        """How many rows are shown at most."""
        limit: int = self.asked.limit or self.asked.default_limit
        return limit

    def takes_no(self, *options: str, where: str) -> None:
        """Raises `BadQuestion` if one of these options was given, as it would change nothing here."""
        for option in options:
            if getattr(self.asked, option) is not None:
                raise BadQuestion(f"expected no --{option} {where}")
