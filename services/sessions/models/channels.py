"""The model `channels`: how many connections are subscribed to a channel, the peak of that, and how often any
subscribed.

All subscriptions of a connection end with it. It ends when the edge closed it, even if the edge took a while to notice
that the client was gone; or when the edge was heard last, if the edge was lost. Ends that come late correct the peaks
since (`peaks`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from services.sessions.peaks import LATE_MS, Hour, corrected, extended, highest, hour_of, hours
from services.sessions.rows import HOUR_MS, Channel, ChannelHour, Connection
from services.sessions.state import State


def subscribed(state: State, connection: Connection, channel: str, at: int) -> None:
    """Counts a subscription, and a subscriber more if the connection is still open."""
    _change(state, channel, 1 if connection.closed_at is None else 0, at, 1)


def unsubscribed(state: State, connection: Connection, channel: str, at: int) -> None:
    """Counts a subscriber less, unless the connection has closed already."""
    if connection.closed_at is None:
        _change(state, channel, -1, at)


def closed(state: State, connection: Connection, at: int) -> None:
    """An open connection closes, and leaves all its channels. If it closed before it subscribed, which happens if its
    edge was lost, it was in the channel for no time."""
    for channel, subscription in state.subscriptions.of(connection.id).items():
        _change(state, channel, -1, max(at, subscription.since))


def lost(state: State, connections: Iterable[Connection], at: int) -> None:
    """Likewise for the connections that close with their edge. Those that leave a channel at the same moment are one
    change, as each change corrects all peaks since."""
    leaving: dict[tuple[int, str], int] = defaultdict(int)
    for connection in connections:
        for channel, subscription in state.subscriptions.of(connection.id).items():
            leaving[max(at, connection.opened_at, subscription.since), channel] += 1
    for (moment, channel), many in sorted(leaving.items()):
        _change(state, channel, -many, moment)


def found(state: State, connections: Iterable[Connection], at: int) -> None:
    """Connections that had closed with their edge turn out to have been open all the time: likewise, one change for
    each channel."""
    back = Counter(channel for connection in connections for channel in state.subscriptions.of(connection.id))
    for channel, many in sorted(back.items()):
        _change(state, channel, many, at)


def _change(state: State, name: str, difference: int, at: int, subscriptions: int = 0) -> None:
    """Counts `difference` more subscribers at `at`, and this number of new subscriptions."""
    row = state.channels.get(name)
    hour = at - at % HOUR_MS
    if row is None:
        row = state.channels[name] = Channel(name, 0, 0, at, 0, at, at, ((at, 0), (hour, 0)))
    before = row.subscribers
    now = before + difference
    if now < 0:
        now = 0  # somebody deleted the channel's row
    row.subscribers = now
    row.subscriptions += subscriptions
    state.changed_channels.add(name)
    if hour > row.last_at:  # the first fact of an hour: nothing in it is unknown
        row.steps = extended(row.steps or ((row.peak_at, row.peak),), hour, before)
    if at > row.last_at:
        row.last_at = at
    elif at < row.first_at:
        row.first_at = at
    steps = row.steps
    if steps:
        latest, peak = steps[-1]
        if at < latest - LATE_MS:
            row.steps = ()  # too late, or a wrong clock: until the next hour, peaks follow the order of the log
        elif at < latest:
            _correct(state, row, now - before, at, subscriptions)
            return
        elif now > peak:
            row.steps = extended(steps, at, now)
    if now > row.peak:
        row.peak, row.peak_at = now, at
    _count(state, name, hour, before if before > now else now, now, subscriptions)


def _correct(state: State, row: Channel, difference: int, at: int, subscriptions: int) -> None:
    """Since `at`, which is before the latest step, there were `difference` more subscribers than was known."""
    peaks = {hour.at: hour.peak for hour in hours(row.steps)}
    row.steps = corrected(row.steps, at, difference)
    row.peak_at, row.peak = highest(row.steps)
    since = hour_of(at)
    later = [hour for hour in hours(row.steps) if hour.at >= since]
    if later[0].at > since:  # this hour has no steps, or they were forgotten
        level = later[0].first
        later.insert(0, Hour(since, level, max(level, level - difference)))
    ends = [hour.first for hour in later[1:]]
    for hour, last in zip(later, [*ends, row.subscribers], strict=True):
        key = row.name, hour.at
        if hour.peak < peaks.get(hour.at, 0):
            state.lowered_hours[key] = min(hour.peak, state.lowered_hours.get(key, hour.peak))
            if key in state.channel_hours:
                state.channel_hours[key].peak = hour.peak
        _count(state, row.name, hour.at, hour.peak, last, subscriptions if hour.at == since else 0)


def _count(state: State, name: str, hour: int, peak: int, last: int, subscriptions: int) -> None:
    """Notes that there were at least `peak` subscribers in this hour, `last` at its end, and this number of new
    subscriptions."""
    key = name, hour
    row = state.channel_hours.get(key)
    if row is None:
        state.channel_hours[key] = ChannelHour(name, hour, peak, last, subscriptions)
        return
    row.last = last
    row.subscriptions += subscriptions
    if peak > row.peak:
        row.peak = peak
