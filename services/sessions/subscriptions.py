"""The stays of connections in channels that a fold may touch. Pure.

A connection is in a channel once at a time: it has at most one *open* subscription to each channel. Ended subscriptions
are kept by key, for repeated facts. A connection that closes leaves its subscriptions without an end: they ended with
it, unless it turns out that it had not closed.
"""

from __future__ import annotations

from collections.abc import Collection, Set

from services.sessions.rows import Subscription

Key = tuple[str, str, int]
"""Connection, channel, since."""

_NONE: dict[str, Subscription] = {}


class Subscriptions:
    """`open` by connection and channel; `ended` by key. `added` and `changed`, which have no row in common, are what a
    store must write: rows that are new, and rows that were there before the fold. `count` is that of the open ones."""

    def __init__(self) -> None:
        self.open: dict[str, dict[str, Subscription]] = {}
        self.ended: dict[Key, Subscription] = {}
        self.added: dict[Key, Subscription] = {}
        self.changed: dict[Key, Subscription] = {}
        self.count = 0

    def put(self, row: Subscription) -> None:
        """Adds a stored row, unless the row is here already: rows here are newer than stored ones."""
        connection, channel = row.connection, row.channel
        key = connection, channel, row.since
        if key in self.ended:
            return
        if row.until is not None:
            self.ended[key] = row
        elif channel not in self.of(connection):
            self._open(row)

    def of(self, connection: str) -> dict[str, Subscription]:
        """The open subscriptions of a connection, by channel. Not to be changed."""
        return self.open.get(connection, _NONE)

    def is_known(self, connection: str, channel: str, since: int) -> bool:
        """Whether a subscription from this moment on is known. One that ended at once does not count: the connection
        may come back within the same millisecond."""
        row = self.of(connection).get(channel)
        if row is not None and row.since == since:
            return True
        row = self.ended.get((connection, channel, since))
        return row is not None and row.until != since

    def begin(self, row: Subscription) -> None:
        """Adds a new subscription to a channel in which its connection is not."""
        key = row.connection, row.channel, row.since
        self._open(row)
        if self.ended.pop(key, None) is None or key in self.added:
            self.added[key] = row
        else:
            self.changed[key] = row

    def end(self, row: Subscription, at: int) -> None:
        """Ends an open subscription at `at`, or when it began, if that is later."""
        connection, channel, since = row.connection, row.channel, row.since
        row.until = max(at, since)
        channels = self.open[connection]
        del channels[channel]
        if not channels:
            del self.open[connection]
        self.count -= 1
        key = connection, channel, since
        self.ended[key] = row
        if key not in self.added:
            self.changed[key] = row

    def touched(self) -> set[tuple[str, str]]:
        """The connections and channels of the rows that the fold added or changed."""
        return {(connection, channel) for rows in (self.added, self.changed) for connection, channel, _ in rows}

    def touched_connections(self) -> set[str]:
        """The connections of these rows."""
        return {key[0] for rows in (self.added, self.changed) for key in rows}

    def settle(self) -> None:
        """The added and changed rows are on their way to a store. Those of them that have ended are kept until they are
        stored; other ended rows are stored already, and are forgotten."""
        written = self.added | self.changed
        self.ended = {key: row for key, row in written.items() if row.until is not None}
        self.added, self.changed = {}, {}

    def forget(self, connection: str) -> None:
        """Forgets the open subscriptions of a connection."""
        self.count -= len(self.open.pop(connection, _NONE))

    def remove(self, connections: Set[str]) -> None:
        """Removes all subscriptions of these connections, including those that a store must write."""
        for connection in connections:
            self.forget(connection)
        for rows in (self.ended, self.added, self.changed):
            for key in _of(rows, connections):
                del rows[key]

    def _open(self, row: Subscription) -> None:
        channels = self.open.get(row.connection)
        if channels is None:
            self.open[row.connection] = {row.channel: row}
        else:
            channels[row.channel] = row
        self.count += 1


def _of(keys: Collection[Key], connections: Set[str]) -> list[Key]:
    return [key for key in keys if key[0] in connections]
