"""Log lines that any client can cause: each kind is logged at a bounded rate, so that none hides the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Final

from services.chassis.process.log import Throttle
from services.chassis.tracing.span import Span, working_in

log = logging.getLogger(__name__)

MAX_KINDS: Final = 256
"""Kinds of refusals with a rate of their own. There are about fifty, and backends may add codes of their own."""

_OTHERS: Final = "others"
_SHOWN_LENGTH: Final = 100


def shown(text: str) -> str:
    """A text that a stranger sent, for the log: in quotes, printable ASCII in one line, cut off if it is long."""
    quoted = ascii(text[: _SHOWN_LENGTH + 1])
    return quoted if len(quoted) <= _SHOWN_LENGTH else f"{quoted[:_SHOWN_LENGTH]}..."


def shown_origin(origin: str | None) -> str:
    """The end of a refusal's line, with the page's origin. Nothing for a client that is no browser."""
    return f"; the page's origin is {shown(origin)}" if origin is not None else ""


class RefusalLog:
    """Logs refusals at a bounded rate for each kind, of which no user takes more than half. `now` is any clock, in
    seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._throttles: dict[str, Throttle] = {}

    def write(
        self, what: str, why: str, fields: Mapping[str, object], trace: Span | None = None, kind: str = ""
    ) -> None:
        """Logs a refusal. `what` is one of a few texts, its kind unless `kind` is; `why` has no token and no payload.

        `fields` say whom and what it concerns (`log_fields.about`). It gets the ids of `trace` as well, or those of the
        active span.
        """
        kind = kind or what
        if kind not in self._throttles and len(self._throttles) >= MAX_KINDS:
            kind = _OTHERS
        who = str(fields.get("user") or fields.get("address") or "")
        held = self._throttles.setdefault(kind, Throttle()).allows(self._now(), who)
        if held is not None:
            more = f" ({held} more like this before)" if held else ""
            with nullcontext() if trace is None else working_in(trace):
                log.info("%s: %s%s", what, why, more, extra=fields)
