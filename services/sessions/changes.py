"""What a commit changed about sessions, as those learn it who follow: one change for each session, its latest. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
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
"""Changes of one commit. A larger one, as a service makes that catches up, is told without them."""

MAX_CHANNELS: Final = 100
"""Channels in one change."""


class Change(Struct, omit_defaults=True):
    """A session after a commit, and the channels in which it subscribed, unsubscribed, or was when it ended.

    Where several things happened to a session in one commit, `change` is what it is now: "removed" was absorbed by
    another session, and has no row. `cut`: there were more channels than a change has.
    """

    change: ChangeKind
    id: str
    session: Session | None = None
    channels: list[str] = []
    cut: bool = False


class Changes(Struct):
    """The changes of one commit, which moved the rows from one position, `(epoch, sequence)`, to another.

    `whole`: all of them. Otherwise nobody had asked for them, or there were too many, and `changes` is empty. If
    `generation` is not that of the commit before, rows have also changed without a commit.
    """

    before: tuple[str, int]
    after: tuple[str, int]
    changes: list[Change]
    whole: bool = True
    generation: int = 0


def changes_of(state: State, batches: Sequence[EventBatch]) -> list[Change] | None:
    """The changes of a state into which these were folded; None if they are too many, or not known: a store erases
    sessions that were not loaded."""
    if state.erased:
        return None
    if len(state.changed_sessions) + len(state.changed_subscriptions) + len(state.removed) > MAX_CHANGES:
        return None
    opened = {name_of(event.connection) for batch in batches for event in batch.events if isinstance(event, Opened)}
    channels = _channels(state)
    made = [Change("removed", id_) for id_ in sorted(state.removed)]
    for id_ in sorted(state.changed_sessions):
        row, touched = state.sessions[id_], channels.pop(id_, {})
        kind = _kind(row, id_ in opened)
        if row.ended_at is not None:
            made.append(_change(kind, row, touched))
        else:
            subscribed, left = _parted(touched)
            made.append(_change(kind, row, subscribed))
            if left:
                made.append(_change("unsubscribed", row, left))
    for id_, touched in sorted(channels.items()):
        if (found := state.sessions.get(id_)) is not None:
            kinds: tuple[ChangeKind, ChangeKind] = ("subscribed", "unsubscribed")
            made += [_change(kind, found, names) for kind, names in zip(kinds, _parted(touched), strict=True) if names]
    return made


def _parted(touched: dict[str, bool]) -> tuple[list[str], list[str]]:
    """Channels that are subscribed to, and those that are not any more."""
    return [name for name, subscribed in touched.items() if subscribed], [
        name for name, subscribed in touched.items() if not subscribed
    ]


def _kind(row: Session, new: bool) -> ChangeKind:
    if row.ended_at is not None:
        return "ended" if row.away_until is None else "away"
    return "opened" if new and row.connections == 1 else "resumed"  # or its edge was not lost after all


def _channels(state: State) -> dict[str, dict[str, bool]]:
    """By session: its channels that are concerned, and whether it is subscribed."""
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for name in state.changed_connections:
        closed = state.connections[name]
        if closed.closed_at is not None:
            found[closed.session_id].update(dict.fromkeys(state.open_channels(name), False))
    for connection, channel in state.changed_subscriptions:
        if (row := state.connections.get(connection)) is not None:
            subscribed = row.closed_at is None and state.subscriptions[connection, channel].until is None
            of_session = found[row.session_id]  # whose next connection may have subscribed again
            of_session[channel] = subscribed or of_session.get(channel, False)
    return found


def _change(kind: ChangeKind, row: Session, channels: Collection[str]) -> Change:
    # Of the row as it is now: it stays in memory, and the next commit is folded into it while this one is told.
    return Change(kind, row.id, copy(row), sorted(channels)[:MAX_CHANNELS], len(channels) > MAX_CHANNELS)


encode_changes = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Changes).decode


def decode_changes(data: bytes) -> Changes | None:
    """The changes of a message; None if it has none."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
