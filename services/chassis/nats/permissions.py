"""What NATS does not permit this process: what to log of it, and whether the process can do its work without. Pure.

NATS refuses one message or subscription at a time, and does not say when it permits it later. So what was refused
counts as refused for `HOLD_S`; whoever keeps trying is refused again within that time.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from proto import subjects

HOLD_S: Final = 15.0
"""For how long what was refused counts as refused."""
NAME_AGAIN_S: Final = 60.0
"""Seconds between two warnings about the same subject."""
MAX_KEPT: Final = 20
"""Subjects that are kept, and named in the log; the others are only counted."""

_VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription)[^"]* "([^"]+)"', re.IGNORECASE)


class Forbidden(NamedTuple):
    """What NATS refused. `publishing`, or else a subscription."""

    publishing: bool
    subject: str

    def __str__(self) -> str:
        return f"{'publishing' if self.publishing else 'subscribing'} to {self.subject}"


def forbidden_by(complaint: str) -> Forbidden | None:
    """What a server's error refuses; None if it is about something else."""
    found = _VIOLATION.search(complaint)
    return None if found is None else Forbidden(found[1].lower() == "publish", found[2])


class Permissions:
    """Times are in seconds, of any clock that does not go back. `own_inbox` is where this process gets its replies."""

    def __init__(self, own_inbox: str) -> None:
        self._own_inbox = own_inbox
        self._refused_at: dict[Forbidden, float] = {}
        self._named_at: dict[Forbidden, float] = {}
        self._unkept_at = float("-inf")
        self.violations = 0

    def refused(self, what: Forbidden, now: float) -> bool:
        """NATS has refused `what`. Whether to log it."""
        self.violations += 1
        if what not in self._named_at and len(self._named_at) >= MAX_KEPT:
            self._named_at = {one: at for one, at in self._named_at.items() if now - at < NAME_AGAIN_S}
            if len(self._named_at) >= MAX_KEPT:
                self._unkept_at = now
                return False
        self._refused_at.pop(what, None)
        self._refused_at[what] = now  # the last one is the newest
        if now - self._named_at.get(what, float("-inf")) < NAME_AGAIN_S:
            return False
        self._named_at[what] = now
        return True

    def problem(self, now: float) -> str | None:
        """What this process cannot do its work without, and may not do. None if there is nothing."""
        lacking = [what for what in self._now(now) if self._is_needed(what)]
        if not lacking:
            return None
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        return f"NATS does not permit {lacking[-1]}{more}"

    def refused_subscriptions(self, now: float) -> list[str]:
        """The subjects to subscribe to again, in order to see whether NATS permits it now."""
        return [what.subject for what in self._now(now) if not what.publishing]

    def has_more(self, now: float) -> bool:
        """Whether more was refused lately than is kept."""
        return now - self._unkept_at < HOLD_S

    def forget(self) -> None:
        """There is a new connection: what it may not do will be refused anew."""
        self._refused_at.clear()
        self._unkept_at = float("-inf")

    def _now(self, now: float) -> list[Forbidden]:
        self._refused_at = {what: at for what, at in self._refused_at.items() if now - at < HOLD_S}
        return list(self._refused_at)

    def _is_needed(self, what: Forbidden) -> bool:
        """Not where somebody else chooses the subject, who could make every process unready by that.

        Backends choose where replies to them go, and clients the methods that they call.
        """
        if not what.publishing or what.subject.startswith(self._own_inbox):
            return True
        return subjects.is_of_fairlead(what.subject) and not subjects.is_chosen_by_clients(what.subject)
