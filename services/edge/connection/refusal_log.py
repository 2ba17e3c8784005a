"""Log lines that any client can cause, at a bounded rate: no kind and no user hides another."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Final

from services.chassis.process.log import Throttle
from services.chassis.tracing.span import Span, working_in

log = logging.getLogger(__name__)

MAX_KINDS: Final = 256
"""Kinds of refusals with a rate of their own. There are about fifty, and backends may add codes of their own."""

OF_A_USER: Final = 5
"""Lines about one user and of one kind in 10 s."""

ALL_USERS: Final = 300
"""Lines about users in 10 s: about 25 MB an hour at the most, however many of them are refused."""

MAX_USERS: Final = 2000
"""Pairs of user and kind whose lines are counted. If there are more, the one refused longest ago is dropped."""

FORGET_S: Final = 300.0
"""How long after the last refusal a pair is dropped, and with it the number of lines about it that were left out."""

_OTHERS: Final = "others"
_SHOWN_LENGTH: Final = 100


def shown(text: str) -> str:
    """A text that a stranger sent, for the log: in quotes, printable ASCII in one line, cut off if it is long."""
    quoted = ascii(text[: _SHOWN_LENGTH + 1])
    return quoted if len(quoted) <= _SHOWN_LENGTH else f"{quoted[:_SHOWN_LENGTH]}..."


def shown_origin(origin: str | None) -> str:
    """The end of a refusal's line, with the page's origin; empty for a client that is not a browser."""
    return f"; the page's origin is {shown(origin)}" if origin is not None else ""


class RefusalLog:
    """Logs refusals at a bounded rate. `now` is any clock, in seconds.

    Users have shown a token. Each user has a rate of their own for each kind, so that refusals of others do not hide
    theirs; a line counts the lines about the same user that were left out. Clients without a user share one rate for
    each kind.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._of_strangers: dict[str, Throttle] = {}
        self._of_users: OrderedDict[tuple[str, str], tuple[Throttle, float]] = OrderedDict()  # with the last refusal
        self._users = Throttle(ALL_USERS)

    def write(
        self, what: str, why: str, fields: Mapping[str, object], trace: Span | None = None, kind: str = ""
    ) -> None:
        """Logs a refusal. `what` is one of a few texts, and the kind without `kind`; `why` has no token and no payload.

        `fields` say whom and what the refusal concerns (`log_fields.about`). The line also gets the ids of `trace`, or
        else those of the active span.
        """
        user = str(fields.get("user") or "")
        if user:
            more = self._more_of_user(kind or what, user)
        else:
            more = self._more_of_strangers(kind or what, str(fields.get("address") or ""))
        if more is not None:
            with nullcontext() if trace is None else working_in(trace):
                log.info("%s: %s%s", what, why, more, extra=fields)

    def sweep(self) -> None:
        """Forgets users, and addresses, who were not refused lately. Called every few seconds at least."""
        now = self._now()
        for throttle in self._of_strangers.values():
            throttle.forget(now)
        before = now - FORGET_S
        while self._of_users:
            whom, (_, at) = next(iter(self._of_users.items()))
            if at > before:
                return
            del self._of_users[whom]

    def _more_of_user(self, kind: str, user: str) -> str | None:
        """What the line says about lines that were left out; None if it is left out itself."""
        now = self._now()
        throttle, _ = self._of_users.pop((kind, user), (None, 0.0))
        if throttle is None:
            if len(self._of_users) >= MAX_USERS:
                self._of_users.popitem(last=False)
            throttle = Throttle(OF_A_USER)
        self._of_users[kind, user] = throttle, now  # the last in order
        held = throttle.allows(now)
        if held is None:
            return None
        left_out = self._users.allows(now)
        if left_out is None:
            return None
        more = f" ({held} more like this of the same user before)" if held else ""
        return f"{more} (before, {left_out} lines about other users were left out)" if left_out else more

    def _more_of_strangers(self, kind: str, address: str) -> str | None:
        if kind not in self._of_strangers and len(self._of_strangers) >= MAX_KINDS:
            kind = _OTHERS
        held = self._of_strangers.setdefault(kind, Throttle()).allows(self._now(), address)
        if held is None:
            return None
        return f" ({held} more like this of clients without a user before)" if held else ""
