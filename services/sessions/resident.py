"""The working set of rows that stays in memory from commit to commit, so that a fold need not load them. Pure.

What is loaded is loaded whole: a session with all its connections, a connection with all its subscriptions. Rows of
sessions that are open stay, and of those that have ended the last ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import islice
from typing import Final

from services.sessions.rows import Channel, Connection, Session, Subscription
from services.sessions.state import State
from services.sessions.store import ORIGIN

KEPT_ENDED: Final = 20_000
"""Ended sessions that stay, away or not: a client that comes back, or facts that come late, need no query."""

KEPT_CHANNELS: Final = 100_000
"""Beyond it, channels that nobody is subscribed to go; and again when twice as many are there as were left."""


class Resident(State):
    """Rows as they will be when everything that was folded is stored.

    Every session that can be continued at `away_since` or later is here, and every one with a lineage that was opened
    at `opened_since` or later (Unix milliseconds; infinite: nothing is known). `known` has the connections and sessions
    that are in the tables, or will be when the commits before this one are, and `known_subscriptions` likewise;
    `numbers` the last batch of writers. All that goes with a position of the log, and its generation.
    """

    def __init__(self, resume_window_ms: int) -> None:
        super().__init__(resume_window_ms)
        self.position = ORIGIN
        self.generation = 0
        self.away_since = math.inf
        self.opened_since = math.inf
        self.known: set[str] = set()
        self.known_subscriptions: set[tuple[str, str]] = set()
        self.numbers: dict[str, int] = {}
        self.folds = 0
        self._leaving: set[str] = set()  # sessions and connections that the last fold removed: the tables may have them
        self._erasing = False
        self._ended: dict[str, int] = {}  # session -> the fold that changed it last, in this order
        self._channels_to_keep = KEPT_CHANNELS
        self._channels_of: dict[str, set[str]] = defaultdict(set)  # connection -> of all its subscriptions

    @property
    def knows_nothing(self) -> bool:
        """Whether no time is known from which on all sessions are here."""
        return self.opened_since == math.inf

    @property
    def is_erasing(self) -> bool:
        """Whether the last fold erased a user: until that is stored, nothing may be loaded."""
        return self._erasing

    def put_subscription(self, row: Subscription) -> None:
        super().put_subscription(row)
        self._channels_of[row.connection].add(row.channel)

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
        """Adds a stored connection, unless it is there already."""
        if row.id in self._leaving and row.session_id not in self.sessions:
            return
        self.put_connection(row)
        self.known.add(row.id)

    def add_subscription(self, row: Subscription) -> None:
        """Adds a stored subscription, unless it is there already."""
        key = row.connection, row.channel
        if key not in self.subscriptions:
            self.put_subscription(row)
            self.known_subscriptions.add(key)

    def add_channel(self, row: Channel) -> None:
        """Adds a stored channel."""
        self.channels[row.name] = row

    def has_all_since(self, since: int) -> None:
        """All sessions have been added that are open, away at `since` or later, or were opened then."""
        self.away_since = self.opened_since = since

    # --- from fold to fold ----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The changes of a fold are on their way to the tables: they are changes no longer, and what was new is known.
        Raises nothing that depends on the rows."""
        self.folds += 1
        changed = self.changed_connections.union(name for name, _ in self.changed_subscriptions)
        connections = self.connections
        for id_ in self.changed_sessions.union(connections[name].session_id for name in changed):
            session = self.sessions.get(id_)
            self._ended.pop(id_, None)
            if session is not None and session.ended_at is not None:
                self._ended[id_] = self.folds
        self.known |= self.changed_connections
        self.known_subscriptions |= self.changed_subscriptions
        for name in self.removed_connections:
            self._forget_connection(name)
        for id_ in self.removed:
            self._ended.pop(id_, None)
        self._leaving, self._erasing = self.removed | self.removed_connections, bool(self.erased)
        self.changed_sessions, self.changed_connections, self.changed_subscriptions = set(), set(), set()
        self.removed, self.removed_connections, self.left_edge = set(), set(), {}
        self.changed_channels, self.changed_edges = set(), set()
        self.channel_hours, self.timeline, self.users, self.refusals, self.erased = {}, {}, {}, [], []
        self.drops, self.openings, self.refusal_counts = Counter(), Counter(), Counter()
        self.events = self.unknown = self.interrupted = self.resumed = self.edges_lost = 0

    def shrink(self, stored: int) -> None:
        """Forgets rows of ended sessions, if there are too many. `stored`: the last fold that is in the tables."""
        for id_ in list(islice(self._ended, max(0, len(self._ended) - KEPT_ENDED))):
            if self._ended[id_] > stored:
                break
            self._evict(id_)
        if len(self.channels) > self._channels_to_keep and stored == self.folds:
            self.channels = {name: row for name, row in self.channels.items() if row.subscribers}
            self._channels_to_keep = max(KEPT_CHANNELS, 2 * len(self.channels))  # as the search takes long

    def _evict(self, id_: str) -> None:
        del self._ended[id_]
        self.known.discard(id_)
        session = self.sessions.pop(id_)
        if session.lineage is not None:
            self._drop(self._opened, session.lineage, (session.opened_at, id_))
            self.opened_since = max(self.opened_since, session.opened_at + 1)
            if session.away_until is not None:
                self._drop(self._away, session.lineage, (session.away_until, id_))
                self.away_since = max(self.away_since, session.away_until + 1)
        connections = self.connections_of(id_)
        self._resuming.pop(id_, None)
        for name in connections:
            instance = self.connections.pop(name).instance
            self._unsettled[instance].discard(name)
            self._open_channels.pop(name, None)
            for channel in self._channels_of.get(name, ()):
                self.subscriptions.pop((name, channel), None)
            self._forget_connection(name)

    def _forget_connection(self, name: str) -> None:
        self.known.discard(name)
        for channel in self._channels_of.pop(name, ()):
            self.known_subscriptions.discard((name, channel))
