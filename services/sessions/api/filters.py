"""Which sessions a question is about. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from services.sessions.api.parameters import (
    ADDRESS,
    AT,
    CHANNEL,
    CLIENT_NAME,
    CLIENT_VERSION,
    EDGE,
    END_CODE,
    FROM,
    STATE,
    TO,
    USER,
    BadParameter,
    Parameter,
    Values,
)

FILTERS: Final[tuple[Parameter, ...]] = (
    FROM, TO, AT, USER, CHANNEL, EDGE, END_CODE, CLIENT_NAME, CLIENT_VERSION, ADDRESS, STATE,
)  # fmt: skip


class Filters(Struct, frozen=True, kw_only=True):
    """All conditions must hold; None is no condition. `since` and `until` bound the time when a session was opened,
    `at` is a time when it was connected, `address` is the beginning of its address."""

    since: datetime | None = None
    until: datetime | None = None
    at: datetime | None = None
    user: str | None = None
    channel: str | None = None
    edge: str | None = None
    end_code: int | None = None
    client_name: str | None = None
    client_version: str | None = None
    address: str | None = None
    state: str | None = None

    @property
    def of_few(self) -> bool:
        """Whether the filters name one user, who has few sessions. Anonymous clients may have most of all sessions."""
        return bool(self.user)


def filters_of(values: Values) -> Filters:
    """The filters among the parameters of a question. Raises `BadParameter` for a period that ends before it begins."""
    since, until = values.get("from"), values.get("to")
    if since is not None and until is not None and until <= since:
        raise BadParameter("to", "expected a time after `from`")
    names = ("at", "user", "channel", "edge", "end_code", "client_name", "client_version", "address", "state")
    return Filters(since=since, until=until, **{name: values[name] for name in names if name in values})


def narrower(filters: Filters) -> str:
    """What to add to the filters of a question that took too long."""
    shorter = "shorten the period between `from` and `to`"
    if filters.since is None:
        return "add `from` (and `to`), or `user`" if filters.user is None else "add `from` (and `to`)"
    return f"add `user`, or {shorter}" if filters.user is None else shorter
