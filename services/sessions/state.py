"""The working set of rows that a fold changes. `rows` has what they mean."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict

from services.sessions.rows import (
    Channel,
    ChannelHour,
    Connection,
    DropKey,
    Edge,
    OpeningKey,
    Refusal,
    RefusalKey,
    Session,
    Subscription,
    TimelineEntry,
    UserDevice,
)


class State:
    """The rows that a fold may touch: all rows, or those that a store has loaded for a batch.

    `resume_window_ms` is how long a session that is away may be continued. `changed_*` and `removed` are the keys of
    the rows that a store must write or delete; the numbers count what the fold did. Rows are added by `put_*`, which
    keep the indexes.
    """

    def __init__(self, resume_window_ms: int) -> None:
        self.resume_window_ms = resume_window_ms
        self.sessions: dict[str, Session] = {}
        self.connections: dict[str, Connection] = {}
        self.subscriptions: dict[tuple[str, str], Subscription] = {}
        self.changed_sessions: set[str] = set()
        self.changed_connections: set[str] = set()
        self.changed_subscriptions: set[tuple[str, str]] = set()
        self.removed: set[str] = set()  # sessions that another one has absorbed
        self.channels: dict[str, Channel] = {}
        self.channel_hours: dict[tuple[str, int], ChannelHour] = {}
        self.edges: dict[str, Edge] = {}
        self.changed_channels: set[str] = set()
        self.changed_hours: set[tuple[str, int]] = set()
        self.changed_edges: set[str] = set()
        # What a store adds to what it has: nothing of it needs to be loaded before.
        self.timeline: dict[tuple[str, int], TimelineEntry] = {}  # by connection and number of the batch
        self.users: dict[tuple[str, str, str, str], UserDevice] = {}
        self.drops: Counter[DropKey] = Counter()
        self.openings: Counter[OpeningKey] = Counter()
        self.refusal_counts: Counter[RefusalKey] = Counter()
        self.refusals: list[Refusal] = []
        self.erased: list[str] = []  # digests of users
        self.events = 0
        self.unknown = 0  # facts about connections whose opening is not in the log, or no longer
        self.interrupted = 0  # times that a session lost its connection so that it may be resumed
        self.resumed = 0
        self.edges_lost = 0
        self._away: dict[str, list[tuple[int, str]]] = defaultdict(list)  # lineage -> (away_until, session)
        self._opened: dict[str, list[tuple[int, str]]] = defaultdict(list)  # lineage -> (opened_at, session)
        self._of_session: dict[str, set[str]] = defaultdict(set)  # session -> connections

    # --- adding rows ----------------------------------------------------------------------------------------------

    def put_session(self, row: Session) -> None:
        """Adds a session, unless it is there already."""
        if row.id in self.sessions:
            return
        self.sessions[row.id] = row
        if row.lineage is not None:
            insort(self._opened[row.lineage], (row.opened_at, row.id))
            if row.away_until is not None:
                insort(self._away[row.lineage], (row.away_until, row.id))

    def put_connection(self, row: Connection) -> None:
        """Adds a connection, unless it is there already."""
        if row.id not in self.connections:
            self.connections[row.id] = row
            self._of_session[row.session_id].add(row.id)

    def put_subscription(self, row: Subscription) -> None:
        """Adds a subscription, or replaces the one of the same connection and channel."""
        self.subscriptions[row.connection, row.channel] = row

    # --- queries and changes ----------------------------------------------------------------------------------------

    def longest_away(self, lineage: str, at: int) -> Session | None:
        """Of the sessions of this lineage that may be continued at `at`, the one that has been away for longest."""
        waiting = self._away.get(lineage, ())
        found = bisect_left(waiting, (at, ""))
        return self.sessions[waiting[found][1]] if found < len(waiting) else None

    def first_opened(self, lineage: str, since: int, until: int, other_than: Session) -> Session | None:
        """Of the other sessions of this lineage, the first that was opened from `since` to `until` (inclusive)."""
        opened = self._opened.get(lineage, ())
        found = bisect_left(opened, (since, ""))
        if found < len(opened) and opened[found][1] == other_than.id:
            found += 1
        if found < len(opened) and opened[found][0] <= until:
            return self.sessions[opened[found][1]]
        return None

    def set_end(
        self, row: Session, at: int | None, away_until: int | None, code: int | None, reason: str = "", by: str = ""
    ) -> None:
        """Ends a session at `at`, or continues it if `at` is None."""
        if row.lineage is not None and row.away_until is not None:
            self._drop(self._away[row.lineage], (row.away_until, row.id))
        row.ended_at, row.away_until, row.end_code, row.end_reason, row.end_by = at, away_until, code, reason, by
        if row.lineage is not None and away_until is not None:
            insort(self._away[row.lineage], (away_until, row.id))
        self.changed_sessions.add(row.id)

    def merge(self, row: Session, later: Session) -> None:
        """Lets `row` absorb `later`: its connections, its current one and its end. `later` is removed."""
        self.set_end(row, later.ended_at, later.away_until, later.end_code, later.end_reason, later.end_by)
        self.set_end(later, None, None, None)
        if later.lineage is not None:
            self._drop(self._opened[later.lineage], (later.opened_at, later.id))
        row.connection, row.edge, row.instance = later.connection, later.edge, later.instance
        row.client_version, row.address = later.client_version, later.address
        row.connections += later.connections
        for connection in self._of_session.pop(later.id, ()):
            self.connections[connection].session_id = row.id
            self.changed_connections.add(connection)
            self._of_session[row.id].add(connection)
        del self.sessions[later.id]
        self.changed_sessions.discard(later.id)
        self.removed.add(later.id)

    @staticmethod
    def _drop(index: list[tuple[int, str]], entry: tuple[int, str]) -> None:
        del index[bisect_left(index, entry)]
