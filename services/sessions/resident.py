"""The working set of rows that stays in memory from commit to commit, so that a fold need not load them. Pure.

Connections that are open, or were lost with their edge, are here with their open subscriptions; other connections have
none until a fact names one. A session has all its open connections here, but it need not have the others: closed ones
are loaded again when a fact names them, or when another session absorbs theirs. Open sessions stay, with their latest
connection, and so do the sessions that ended last. So memory grows with the open sessions and their channels, but
neither with their age, nor with how often they were resumed or changed channels.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import Final

from services.sessions.rows import Channel, Connection, Session
from services.sessions.state import State
from services.sessions.store import ORIGIN

KEPT_ENDED: Final = 20_000
"""Ended sessions that stay, away or not: a client that comes back, or facts that come late, need no query."""

KEPT_CHANNELS: Final = 100_000
"""Beyond it, channels without subscribers are forgotten; and again when there are twice as many as were left."""

MAX_CHANNELS_EACH: Final = 10
"""Open subscriptions for which there is room, on average for each session: 0.4 KB each."""

KEPT_CONNECTIONS: Final = 100_000
"""Beyond it, closed connections that are not the latest of their session are forgotten; and again when there are twice
as many as were left."""


class Resident(State):
    """Rows as they will be when everything that was folded is stored.

    Every session that can be continued at `away_since` or later is here, and every session with a lineage that was
    opened at `opened_since` or later, with all its connections (Unix milliseconds; infinite: nothing is known). `known`
    has the connections and sessions that are in the tables, or will be once the commits before this one are; `numbers`
    has the last batch of each writer. All of this belongs to a position of the log, and its generation.
    """

    def __init__(self, resume_window_ms: int) -> None:
        super().__init__(resume_window_ms)
        self.position = ORIGIN
        self.generation = 0
        self.away_since = math.inf
        self.opened_since = math.inf
        self.known: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.folds = 0
        self._leaving: set[str] = set()  # sessions and connections that the last fold removed: the tables may have them
        self._erasing = False
        self._ended: dict[str, int] = {}  # session -> the fold that changed it last, in this order
        self._channels_to_keep = KEPT_CHANNELS
        self._connections_to_keep = KEPT_CONNECTIONS
        self._last_changed: set[str] = set()  # the connections that the last fold changed
        self._visited: set[str] = set()  # connections that had closed for good, and whose subscriptions were loaded

    @property
    def knows_nothing(self) -> bool:
        """Whether no time is known from which on all sessions are here."""
        return self.opened_since == math.inf

    @property
    def is_erasing(self) -> bool:
        """Whether the last fold erased a user: until it is stored, nothing may be loaded."""
        return self._erasing

    # --- what a store has loaded --------------------------------------------------------------------------------------

    def add_session(self, row: Session) -> None:
        """Adds a stored session, unless it is there already."""
        if row.id in self._leaving:
            return
        self.put_session(row)
        self.known.add(row.id)
        if row.ended_at is not None:
            self._ended.setdefault(row.id, 0)

    def add_connection(self, row: Connection) -> None:
        """Adds a stored connection, unless it is there already. Its session has been added before."""
        if row.id in self._leaving and row.session_id not in self.sessions:
            return
        self.put_connection(row)
        self.known.add(row.id)
        session = self.sessions.get(row.session_id)
        if row.closed_at is None and session is not None and session.connection != row.id:
            self.with_several.add(session.id)

    def visit(self, connections: set[str]) -> None:
        """Open subscriptions of these connections, which have closed for good, will be added for the next fold only."""
        self._visited |= connections

    def add_channel(self, row: Channel) -> None:
        """Adds a stored channel."""
        self.channels[row.name] = row

    def has_all_since(self, since: int) -> None:
        """All sessions have been added that are open, away at `since` or later, or were opened at `since` or later; the
        latter with all their connections."""
        self.away_since = self.opened_since = since

    # --- from fold to fold ----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The changes of a fold are on their way to the tables: from now on they are no changes, and new rows are
        known. Raises nothing that depends on the rows."""
        self.folds += 1
        changed = self.changed_connections | self.subscriptions.touched_connections()
        connections = self.connections
        for id_ in self.changed_sessions.union(connections[name].session_id for name in changed):
            session = self.sessions.get(id_)
            self._ended.pop(id_, None)
            if session is not None and session.ended_at is not None:
                self._ended[id_] = self.folds
        self.known |= self.changed_connections
        for name in self.removed_connections:
            self._forget_connection(name)
        for id_ in self.removed:
            self._ended.pop(id_, None)
        changed |= self._visited
        self._visited = set()
        self._forget_channels(self._last_changed - changed)
        self._last_changed = changed
        self.subscriptions.settle()
        self._leaving, self._erasing = self.removed | self.removed_connections, bool(self.erased)
        self.changed_sessions, self.changed_connections = set(), set()
        self.removed, self.removed_connections, self.left_edge = set(), set(), {}
        self.changed_channels, self.changed_edges = set(), set()
        self.channel_hours, self.lowered_hours = {}, {}
        self.timeline, self.users, self.refusals, self.erased = {}, {}, [], []
        self.drops, self.openings, self.refusal_counts = Counter(), Counter(), Counter()
        self.events = self.unknown = self.interrupted = self.resumed = self.edges_lost = 0

    def is_fuller_than(self, sessions: int) -> bool:
        """Whether there is more here than this number of sessions needs, with the connections that `shrink` leaves
        them."""
        return (
            len(self.sessions) > sessions
            or len(self.connections) > 3 * sessions + KEPT_CONNECTIONS
            or self.subscriptions.count > MAX_CHANNELS_EACH * sessions
        )

    def shrink(self, stored: int) -> None:
        """Forgets rows of ended sessions, closed connections, and channels, if there are too many. `stored`: the number
        of the last fold that is in the tables: the last one, or the one before it."""
        for id_ in list(islice(self._ended, max(0, len(self._ended) - KEPT_ENDED))):
            if self._ended[id_] > stored:
                break
            self._evict(id_)
        if len(self.connections) > self._connections_to_keep:
            self._forget_closed(set() if stored == self.folds else self._last_changed)
            self._connections_to_keep = max(KEPT_CONNECTIONS, 2 * len(self.connections))
        if len(self.channels) > self._channels_to_keep and stored == self.folds:
            self.channels = {name: row for name, row in self.channels.items() if row.subscribers}
            self._channels_to_keep = max(KEPT_CHANNELS, 2 * len(self.channels))  # as the search takes long

    def _evict(self, id_: str) -> None:
        del self._ended[id_]
        self.known.discard(id_)
        session = self.sessions.pop(id_)
        self.with_several.discard(id_)
        if session.lineage is not None:
            self._drop(self._opened, session.lineage, (session.opened_at, id_))
            self.opened_since = max(self.opened_since, session.opened_at + 1)
            if session.away_until is not None:
                self._drop(self._away, session.lineage, (session.away_until, id_))
                self.away_since = max(self.away_since, session.away_until + 1)
        for name in self.connections_of(id_):
            self._evict_connection(name)

    def _forget_closed(self, unstored: set[str]) -> None:
        """Forgets closed connections, except the latest of each session and those whose rows are `unstored`."""
        over = [row for row in self.connections.values() if row.closed_at is not None and row.id not in unstored]
        for row in over:
            session = self.sessions.get(row.session_id)
            if session is None:  # somebody deleted its row
                self._evict_connection(row.id)
            elif session.connection != row.id:
                self._evict_connection(row.id)
                if session.lineage is not None:
                    self.opened_since = max(self.opened_since, session.opened_at + 1)

    def _evict_connection(self, name: str) -> None:
        row = self.connections.pop(name)
        self._unsettled[row.instance].discard(name)
        resuming = self._resuming.get(row.session_id)
        if resuming is not None:
            resuming.discard(name)
            if not resuming:
                del self._resuming[row.session_id]
        self.subscriptions.forget(name)
        self._forget_connection(name)

    def _forget_connection(self, name: str) -> None:
        if name not in self.sessions:  # a session bears the name of its first connection
            self.known.discard(name)

    def _forget_channels(self, connections: set[str]) -> None:
        """Forgets the open subscriptions of those connections that have closed for good. Rows that the last fold
        changed stay: they may not be stored yet, and would be loaded in their old state."""
        for name in connections:
            row = self.connections.get(name)
            if row is not None and row.closed_at is not None and not row.was_lost:
                self.subscriptions.forget(name)
