"""What a commit changed about sessions, as followers learn it: for each session one change, the latest. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set
from copy import copy
from typing import Final, Literal

import msgspec
from msgspec import Struct

from proto.events import EventBatch, Opened
from services.sessions.rows import Session
from services.sessions.state import State
from services.sessions.values import name_of

ChangeKind = Literal["opened", "resumed", "away", "ended", "removed", "subscribed", "unsubscribed"]

MAX_CHANGES: Final = 1000
"""Changes of one commit. Of a larger commit, such as one of a service that catches up, followers get only the
positions."""

MAX_CHANNELS: Final = 20_000
"""Channels in the changes of one commit, likewise."""

_Pairs = Set[tuple[str, str]]
"""Connections and channels whose subscriptions changed."""


class Change(Struct, omit_defaults=True):
    """A session after a commit, with channels: those in which it is now ("opened", "resumed", "subscribed"), or those
    that it left.

    Where several things happened to a session in one commit, `change` says what it is now. A "removed" session was
    absorbed by another one, and has no row. `left_edge` is the edge on which it was before the commit, if it has moved.
    """

    change: ChangeKind
    id: str
    session: Session | None = None
    channels: list[str] = []
    left_edge: str | None = None


class Changes(Struct):
    """The changes of one commit, which moved the rows from one position, `(epoch, sequence)`, to another.

    `whole`: `changes` has all of them. Otherwise nobody had asked for them, or there were too many, and `changes` is
    empty. If `generation` differs from that of the commit before, rows have also changed without a commit.
    """

    before: tuple[str, int]
    after: tuple[str, int]
    changes: list[Change]
    whole: bool = True
    generation: int = 0


def changes_of(state: State, batches: Sequence[EventBatch]) -> list[Change] | None:
    """The changes of a state into which these batches were folded. None if there are too many, or if they are not
    known: a store erases sessions that were not loaded."""
    if state.erased:
        return None
    changed = state.subscriptions.touched()
    if len(state.changed_sessions) + len(changed) + len(state.removed) > MAX_CHANGES:
        return None
    touched = _touched(state, changed)
    if len(touched) > MAX_CHANGES:
        return None
    channels = _channels(state, touched, changed)
    if sum(map(len, channels.values())) > MAX_CHANNELS:
        return None
    opened = {name_of(event.connection) for batch in batches for event in batch.events if isinstance(event, Opened)}
    made = [Change("removed", id_) for id_ in sorted(state.removed)]
    for id_, concerned in sorted(channels.items()):
        if (row := state.sessions.get(id_)) is not None:  # otherwise somebody deleted it
            kind = _kind(row, id_ in opened) if id_ in state.changed_sessions else None
            made += _of_session(state, row, kind, concerned)
    return made


def _of_session(state: State, row: Session, kind: ChangeKind | None, channels: dict[str, bool]) -> list[Change]:
    """The changes of a session: that of the session itself, of this kind, if there is one, and those of its
    channels."""
    joined = sorted(channel for channel, subscribed in channels.items() if subscribed)
    left = sorted(channel for channel, subscribed in channels.items() if not subscribed)
    told: list[tuple[ChangeKind, list[str]]] = [("subscribed", joined), ("unsubscribed", left)]
    if kind in ("away", "ended"):
        told = [(kind, left)]  # it has no open connection
    elif kind is not None:
        told = [(kind, joined), ("unsubscribed", left)]
    moved_from = state.left_edge.get(row.id)
    left_edge = None if moved_from == row.edge else moved_from
    # A copy of the row: it stays in memory, and the next commit is folded into it while this change is encoded.
    return [Change(each, row.id, copy(row), names, left_edge) for each, names in told if names or each == kind]


def _kind(row: Session, new: bool) -> ChangeKind:
    if row.ended_at is not None:
        return "ended" if row.away_until is None else "away"
    return "opened" if new and row.connections == 1 else "resumed"  # or its edge was not lost after all


def _touched(state: State, changed: _Pairs) -> dict[str, set[str]]:
    """The sessions that changed, each with the channels of its connections and subscriptions that changed."""
    touched: dict[str, set[str]] = {id_: set() for id_ in state.changed_sessions}
    for name in state.changed_connections:
        touched.setdefault(state.connections[name].session_id, set()).update(state.subscriptions.of(name))
    for name, channel in changed:
        if (connection := state.connections.get(name)) is not None:
            touched.setdefault(connection.session_id, set()).add(channel)
    return touched


def _channels(state: State, touched: dict[str, set[str]], changed: _Pairs) -> dict[str, dict[str, bool]]:
    """By session: the channels to report, and whether the session is subscribed to each. It is if any of its
    connections is: a connection that closes late does not end what the next one has subscribed to.

    If the session itself changed, all its channels are reported, so that followers of each of them get its row as it is
    now.
    """
    found: dict[str, dict[str, bool]] = {}
    for id_, channels in touched.items():
        open_ = [name for name in state.connections_of(id_) if state.connections[name].closed_at is None]
        subscribed = {channel for name in open_ for channel in state.subscriptions.of(name)}
        if id_ in state.changed_sessions:
            channels |= subscribed
        else:
            channels -= {channel for name in open_ for channel in _unchanged(state, name, changed)}
        found[id_] = {channel: channel in subscribed for channel in channels}
    return found


def _unchanged(state: State, name: str, changed: _Pairs) -> set[str]:
    """The channels to which this connection, which is open, was subscribed before the fold and still is."""
    if name in state.changed_connections:
        return set()
    return {channel for channel in state.subscriptions.of(name) if (name, channel) not in changed}


encode_changes = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Changes).decode


def decode_changes(data: bytes) -> Changes | None:
    """The changes in a message; None if it has none."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
