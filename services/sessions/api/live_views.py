"""The events for followers, as structs: a session in them is as `/sessions` has it. Pure."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from services.sessions.api.views import SessionState, SessionView
from services.sessions.changes import Change, ChangeKind
from services.sessions.rows import Session
from services.sessions.rows_postgres import moment, optional_moment

MAX_CHANNELS: Final = 100
"""Channels in one event."""


class SessionChange(SessionView, kw_only=True):
    """A session after a commit, as `/sessions` has it, with what happened to it. If several things happened, `change`
    says what it is now. A session that is `away` and does not come back ends at `away_until`, without another event."""

    change: ChangeKind
    channels: Annotated[
        list[str],
        Meta(
            description="Where it is subscribed now (`opened`, `resumed`, `subscribed`), or is no longer "
            "(`unsubscribed`, `away`, `ended`)."
        ),
    ]
    cut: Annotated[bool, Meta(description="Whether there are more channels than these.")]


class SessionRemoved(Struct, kw_only=True):
    """A session that another one has absorbed, or that was erased: no session has this id any more."""

    change: ChangeKind
    id: str


class Said(Struct, kw_only=True):
    """What a follower must know about the stream itself, with the events `reset`, `slow`, `refused` and `stopping`."""

    message: str


EVENTS: Final = (SessionChange, SessionRemoved, Said)
"""The shapes of the data of events."""


def view_of(change: Change) -> SessionChange | SessionRemoved:
    """The event of a change."""
    row = change.session
    if row is None:
        return SessionRemoved(change=change.change, id=change.id)
    return SessionChange(
        change=change.change,
        channels=change.channels[:MAX_CHANNELS],
        cut=len(change.channels) > MAX_CHANNELS,
        id=row.id,
        user=row.user,
        session_key=row.session_key,
        client_name=row.client_name,
        client_version=row.client_version,
        state=_state(row),
        edge=row.edge,
        instance=row.instance,
        connection=row.connection,
        connection_count=row.connections,
        opened_at=moment(row.opened_at),
        ended_at=optional_moment(row.ended_at),
        away_until=optional_moment(row.away_until),
        end_code=row.end_code,
        end_reason=row.end_reason,
        end_by=row.end_by,
        address=row.address,
    )


def _state(row: Session) -> SessionState:
    """The state at the commit, whatever time it is now."""
    return "open" if row.ended_at is None else "ended" if row.away_until is None else "away"
