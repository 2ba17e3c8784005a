"""What an operator asked, and at which moment."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from typing import NamedTuple

from services.sessions.queries.periods import Period


class NotFound(Exception):
    """Nothing is known of whom or what was asked for. The text says how to find others."""


class BadQuestion(Exception):
    """The arguments make no sense together. The text says what was expected."""


class Question(NamedTuple):
    """The arguments, as `arguments` names them, and the moment at which they were given."""

    asked: Namespace
    now: datetime

    @property
    def period(self) -> Period:
        """From `since` to `until`. Raises `BadQuestion` if it is none."""
        until: datetime = self.asked.until or self.now
        since: datetime = self.asked.since
        if since >= until:
            raise BadQuestion("expected --since to be before --until")
        return Period(since, until)
