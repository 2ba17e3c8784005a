"""The working set of rows that a fold changes. `rows` has what they mean."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

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
    TimelineEntry,
    UserDevice,
)
from services.sessions.subscriptions import Subscriptions


class State:
    """The rows that a fold may touch: all rows, or those that a store has loaded for a batch.

    `resume_window_ms` is how long a session that is away may be continued. `changed_*` and `removed` are the keys of
    the rows that a store must write or delete; the numbers count what the fold did. Sessions, connections and
    erasures are added by `put_*`, which keep the indexes.

    If `erased` is not empty, a store first deletes everything that it has about these users: their sessions with the
    connections and everything that belongs to them, their devices, and their refusals.
    """

    def __init__(self, resume_window_ms: int) -> None:
        self.resume_window_ms = resume_window_ms
        self.sessions: dict[str, Session] = {}
        self.connections: dict[str, Connection] = {}
        self.subscriptions = Subscriptions()
        self.changed_sessions: set[str] = set()
        self.changed_connections: set[str] = set()
        self.left_edge: dict[str, str] = {}  # session -> its edge before the fold, if it got another connection
        self.removed: set[str] = set()  # sessions that another one has absorbed, or that were erased
        self.removed_connections: set[str] = set()  # erased, with their subscriptions and timelines
        self.channels: dict[str, Channel] = {}
        self.edges: dict[str, Edge] = {}
        self.changed_channels: set[str] = set()
        self.changed_edges: set[str] = set()
        # A store adds these to its rows, as `rows` says for each: none of them need be loaded before.
        self.channel_hours: dict[tuple[str, int], ChannelHour] = {}
        self.lowered_hours: dict[tuple[str, int], int] = {}  # stored peaks that turned out to be no higher than this
        self.timeline: dict[tuple[str, int], TimelineEntry] = {}  # by connection and number of the batch
        self.users: dict[tuple[str, str, str, str], UserDevice] = {}
        self.drops: Counter[DropKey] = Counter()
        self.openings: Counter[OpeningKey] = Counter()
        self.minutes_of_drops: dict[tuple[int, str, int, str, str, str], int] = {}  # not yet among `drops`
        self.minutes_of_openings: dict[tuple[int, str, str, str, bool], int] = {}  # likewise
        self.refusal_counts: Counter[RefusalKey] = Counter()
        self.refusals: list[Refusal] = []
        self.erased: list[tuple[str, int]] = []  # digests of users, and up to when, from the folded facts
        self.erasures: dict[str, int] = {}  # all that are known, likewise
        self.erased_until = -1  # no fact after this moment is about an erased user
        self.events = 0
        self.unknown = 0  # facts about connections whose opening is not in the log, or no longer
        self.interrupted = 0  # times that a session lost its connection in a way after which it may be resumed
        self.resumed = 0
        self.edges_lost = 0
        self.with_several: set[str] = set()  # sessions that may have several open connections
        self._away: dict[str, list[tuple[int, str]]] = {}  # lineage -> (away_until, session)
        self._opened: dict[str, list[tuple[int, str]]] = {}  # lineage -> (opened_at, session)
        self._resuming: dict[str, set[str]] = defaultdict(set)  # session -> its connections that do not bear its name
        self._unsettled: dict[str, set[str]] = defaultdict(set)  # instance -> connections that are open, or were lost

    # --- adding rows ----------------------------------------------------------------------------------------------

    def put_session(self, row: Session) -> None:
        """Adds a session, unless it is there already."""
        id_, lineage = row.id, row.lineage
        if id_ in self.sessions:
            return
        self.sessions[id_] = row
        if lineage is not None:
            opened = self._opened.get(lineage)
            if opened is None:
                self._opened[lineage] = [(row.opened_at, id_)]
            else:
                insort(opened, (row.opened_at, id_))
            if row.away_until is not None:
                insort(self._away.setdefault(lineage, []), (row.away_until, id_))

    def put_connection(self, row: Connection) -> None:
        """Adds a connection, unless it is there already."""
        id_ = row.id
        if id_ not in self.connections:
            self.connections[id_] = row
            if row.session_id != id_:
                self._resuming[row.session_id].add(id_)
            if row.closed_at is None or row.was_lost:
                self._unsettled[row.instance].add(id_)

    def put_erasure(self, digest: str, at: int) -> None:
        """Notes that a user was erased up to `at`."""
        self.erased.append((digest, at))
        self.know_erasures({digest: at})

    def know_erasures(self, erasures: Mapping[str, int]) -> None:
        """Adds erasures that are stored: digests of users, and up to when."""
        for digest, at in erasures.items():
            self.erasures[digest] = max(at, self.erasures.get(digest, -1))
            self.erased_until = max(at, self.erased_until)

    # --- queries and changes ----------------------------------------------------------------------------------------

    def connections_of(self, session: str) -> list[str]:
        """The connections of a session."""
        own = [session] if session in self.connections else []
        resuming = self._resuming.get(session)
        return sorted(resuming.union(own)) if resuming else own

    def sessions_of(self, lineage: str) -> int:
        """How many sessions of this lineage are here."""
        return len(self._opened.get(lineage, ()))

    def unsettled(self, instance: str) -> list[Connection]:
        """The connections of an edge process that are open, or closed only because the edge counts as lost."""
        return [self.connections[name] for name in self._unsettled.get(instance, ())]

    def newest_open(self, session: Session) -> Connection | None:
        """Of the open connections of a session, the one that was opened last."""
        rows = [self.connections[name] for name in self.connections_of(session.id)]
        open_ones = [row for row in rows if row.closed_at is None]
        if not open_ones:
            self.with_several.discard(session.id)
        return max(open_ones, key=lambda row: (row.opened_at, row.id), default=None)

    def longest_away(self, lineage: str, at: int) -> Session | None:
        """Of the sessions of this lineage that may be continued at `at`, the one that has been away for longest. A
        session that ended after `at` may not be continued: it was still connected then, and this is another tab, whose
        fact comes late."""
        waiting = self._away.get(lineage)
        if not waiting:
            return None
        for place in range(bisect_left(waiting, (at, "")), len(waiting)):
            away_until, id_ = waiting[place]
            session = self.sessions[id_]
            if session.ended_at is not None and session.ended_at <= at:
                return session
            if away_until > at + self.resume_window_ms:
                break  # it ended after `at`, and so did all behind it
        return None

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
        lineage = row.lineage
        if lineage is not None and row.away_until is not None:
            self._drop(self._away, lineage, (row.away_until, row.id))
        row.ended_at, row.away_until, row.end_code, row.end_reason, row.end_by = at, away_until, code, reason, by
        if lineage is not None and away_until is not None:
            insort(self._away.setdefault(lineage, []), (away_until, row.id))
        self.changed_sessions.add(row.id)

    def set_close(self, row: Connection, at: int | None, code: int | None, reason: str = "", by: str = "") -> None:
        """Closes a connection at `at`, or opens it again if `at` is None."""
        id_ = row.id
        row.closed_at, row.close_code, row.close_reason, row.close_by = at, code, reason, by
        if at is not None and not row.was_lost:
            self._unsettled[row.instance].discard(id_)
        self.changed_connections.add(id_)

    def remove(self, rows: Iterable[Session]) -> None:
        """Removes sessions with their connections and subscriptions."""
        gone: set[str] = set()
        for row in rows:
            self.set_end(row, None, None, None)
            if row.lineage is not None:
                self._drop(self._opened, row.lineage, (row.opened_at, row.id))
            gone.update(self.connections_of(row.id))
            self._resuming.pop(row.id, None)
            self._forget(row.id)
        for name in gone:
            self._unsettled[self.connections.pop(name).instance].discard(name)
        self.subscriptions.remove(gone)
        self.changed_connections -= gone
        self.removed_connections |= gone

    def merge(self, row: Session, later: Session) -> None:
        """Lets `row` absorb `later`: its connections, its current one and its end. `later` is removed."""
        self.set_end(row, later.ended_at, later.away_until, later.end_code, later.end_reason, later.end_by)
        self.set_end(later, None, None, None)
        if later.lineage is not None:
            self._drop(self._opened, later.lineage, (later.opened_at, later.id))
        self.left_edge.setdefault(row.id, row.edge)
        row.connection, row.edge, row.instance = later.connection, later.edge, later.instance
        row.client_version, row.address = later.client_version, later.address
        row.connected_at = later.opened_at if later.connected_at is None else later.connected_at
        row.connections += later.connections
        for connection in self.connections_of(later.id):
            self.connections[connection].session_id = row.id
            self.changed_connections.add(connection)
            self._resuming[row.id].add(connection)
        self._resuming.pop(later.id, None)
        if later.id in self.with_several:
            self.with_several.add(row.id)
        self._forget(later.id)

    def _forget(self, session: str) -> None:
        del self.sessions[session]
        self.changed_sessions.discard(session)
        self.with_several.discard(session)
        self.left_edge.pop(session, None)
        self.removed.add(session)

    @staticmethod
    def _drop(index: dict[str, list[tuple[int, str]]], lineage: str, entry: tuple[int, str]) -> None:
        entries = index[lineage]
        del entries[bisect_left(entries, entry)]
        if not entries:
            del index[lineage]
