"""The model `channels`: how many are subscribed to a channel, the most that were, and how often anybody subscribed.

Somebody is subscribed while his connection is open: with it all its subscriptions end. Peaks are those in the order of
the log, in which the facts of two edges may be exchanged.
"""

from __future__ import annotations

from services.sessions.rows import HOUR_MS, Channel, ChannelHour, Connection
from services.sessions.state import State


def subscribed(state: State, connection: Connection, channel: str, at: int) -> None:
    """Counts a subscription, and the subscriber if his connection is open still."""
    _change(state, channel, 1 if connection.closed_at is None else 0, at, 1)


def unsubscribed(state: State, connection: Connection, channel: str, at: int) -> None:
    """Counts a subscriber less, unless he is gone already."""
    if connection.closed_at is None:
        _change(state, channel, -1, at)


def closed(state: State, connection: Connection, at: int) -> None:
    """An open connection closes, and is no longer in any channel."""
    for channel in state.subscriptions.of(connection.id):
        _change(state, channel, -1, at)


def reopened(state: State, connection: Connection, at: int) -> None:
    """A closed connection was open all the time."""
    for channel in state.subscriptions.of(connection.id):
        _change(state, channel, 1, at)


def _change(state: State, name: str, difference: int, at: int, subscriptions: int = 0) -> None:
    """Counts `difference` subscribers more at `at`, and so many new subscriptions."""
    row = state.channels.get(name)
    if row is None:
        row = state.channels[name] = Channel(name, 0, 0, at, 0, at, at)
    before = row.subscribers
    now = before + difference
    if now < 0:
        now = 0  # somebody deleted the channel's row
    row.subscribers = now
    row.subscriptions += subscriptions
    if now > row.peak:
        row.peak, row.peak_at = now, at
    if at > row.last_at:
        row.last_at = at
    elif at < row.first_at:
        row.first_at = at
    state.changed_channels.add(name)
    key = name, at - at % HOUR_MS
    hour = state.channel_hours.get(key)
    if hour is None:
        state.channel_hours[key] = ChannelHour(*key, max(before, now), now, subscriptions)
        return
    hour.last = now
    hour.subscriptions += subscriptions
    if now > hour.peak or before > hour.peak:  # in between, facts of other hours may have been told
        hour.peak = max(before, now)
