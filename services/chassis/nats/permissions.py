"""What NATS does not permit this process: what to log about it, and whether the process can work without it. Pure.

NATS refuses single messages and subscriptions, and does not say when it permits them later. So a refusal counts for
`HOLD_S`; a process that keeps trying is refused again within that time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from proto import subjects

HOLD_S: Final = 15.0
"""How long a refusal counts."""
NAME_AGAIN_S: Final = 60.0
"""Seconds between two warnings about the same subject."""
MAX_KEPT: Final = 20
"""The most subjects that are kept and named in the log; further ones are only counted."""

_VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription)[^"]* "([^"]+)"', re.IGNORECASE)


class Forbidden(NamedTuple):
    """What NATS refused: publishing, or otherwise a subscription."""

    publishing: bool
    subject: str

    @property
    def action(self) -> str:
        """What was refused, for people."""
        return "publishing" if self.publishing else "subscribing"

    def __str__(self) -> str:
        return f"{self.action} to {self.subject}"


def listed(forbidden: Iterable[Forbidden]) -> str:
    """Everything that is forbidden, in one line: "publishing to a, b; subscribing to c"."""
    by_action: dict[str, list[str]] = {}
    for what in forbidden:
        by_action.setdefault(what.action, []).append(what.subject)
    return "; ".join(f"{action} to {', '.join(found)}" for action, found in by_action.items())


def forbidden_by(complaint: str) -> Forbidden | None:
    """What a server refuses by this error; None if the error is about something else."""
    found = _VIOLATION.search(complaint)
    return None if found is None else Forbidden(found[1].lower() == "publish", found[2])


class _Named:
    """When each of up to `MAX_KEPT` subjects was last named in the log."""

    def __init__(self) -> None:
        self._at: dict[Forbidden, float] = {}

    def __contains__(self, what: Forbidden) -> bool:
        return what in self._at

    def is_due(self, what: Forbidden, now: float) -> bool:
        """Whether to name it now."""
        if what in self._at:
            return now - self._at[what] >= NAME_AGAIN_S
        if len(self._at) >= MAX_KEPT:
            self._at = {one: at for one, at in self._at.items() if now - at < NAME_AGAIN_S}
        return len(self._at) < MAX_KEPT

    def name(self, what: Forbidden, now: float) -> None:
        """Notes that it is named now."""
        self._at[what] = now


class Permissions:
    """What NATS has refused to this process. Times are in seconds, of any monotonic clock. `own_inbox` is where this
    process alone gets its replies, below a prefix that is shared with others of its kind."""

    def __init__(self, own_inbox: str) -> None:
        self._own_inbox = f"{own_inbox}."
        self._all_inboxes = f"{own_inbox.rpartition('.')[0]}.>"
        self._refused_at: dict[Forbidden, float] = {}  # of what the process needs, the newest last
        self._unkept = False  # more subscriptions were refused than are kept
        self._tried_at = float("-inf")
        self._needed, self._others = _Named(), _Named()  # separate: clients cannot use up the room for needed ones
        self._untold: dict[Forbidden, bool] = {}  # and whether it was logged before
        self.violations = 0

    def refused(self, what: Forbidden, now: float) -> bool:
        """Notes that NATS has refused `what`. Returns whether there is something to log: call `news` shortly after,
        when it also has the refusals that follow at once."""
        self.violations += 1
        if what.publishing and what.subject.startswith(self._own_inbox):
            what = Forbidden(True, self._all_inboxes)  # each request there has a subject of its own
        needed = self._is_needed(what)
        if needed:
            self._keep(what, now)
        named = self._needed if needed else self._others
        if named.is_due(what, now):
            self._untold[what] = needed and what in named
            named.name(what, now)
        return bool(self._untold)

    def _keep(self, what: Forbidden, now: float) -> None:
        self._refused_at.pop(what, None)
        if len(self._refused_at) >= MAX_KEPT and len(self._now(now)) >= MAX_KEPT:
            self._unkept |= not what.publishing
        else:
            self._refused_at[what] = now

    def news(self, now: float) -> str:
        """What to log now, "" if nothing. If something is repeated, everything that is still refused is repeated with
        it."""
        told, self._untold = self._untold, {}
        if any(told.values()):
            for what in self._now(now):
                if what in self._needed:
                    self._needed.name(what, now)
                    told[what] = True
        return listed(told)

    def problem(self, now: float) -> str | None:
        """What this process needs to do and may not do. None if there is nothing."""
        lacking = self._now(now)
        if not lacking:
            return None
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        return f"NATS does not permit {lacking[-1]}{more}"

    def to_try(self, now: float) -> list[str] | None:
        """The subjects to subscribe to again, to see whether NATS permits them now; None for all subjects.

        The kept subjects are tried first, as otherwise many thousands would be refused one by one; all are tried once
        NATS permits the kept ones.
        """
        kept = {what.subject: self._refused_at[what] for what in self._now(now) if not what.publishing}
        tried_at, self._tried_at = self._tried_at, now
        if self._unkept and all(at < tried_at for at in kept.values()):
            self._unkept = False
            return None
        return list(kept)

    def forget(self) -> None:
        """Forgets all refusals: on a new connection NATS will refuse again what it does not permit."""
        self._refused_at.clear()
        self._unkept = False

    def _now(self, now: float) -> list[Forbidden]:
        self._refused_at = {what: at for what, at in self._refused_at.items() if now - at < HOLD_S}
        return list(self._refused_at)

    def _is_needed(self, what: Forbidden) -> bool:
        """Whether the process needs it. Not if somebody else chooses the subject, who could otherwise make every
        process unready.

        Backends choose the subjects of replies to them, and clients the methods that they call.
        """
        if not what.publishing or what.subject == self._all_inboxes:
            return True
        return subjects.is_of_fairlead(what.subject) and not subjects.is_chosen_by_clients(what.subject)
