"""Followers of changes of sessions, and the latest changes for those who come back. Pure.

Commits follow on each other without a gap, so a commit that does not begin where the one before ended shows that some
were missed. Then all followers are told to read the sessions again ("reset"), and nobody can be brought up to date from
before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from services.sessions.api.live_views import MAX_CHANNELS, Said, view_of
from services.sessions.changes import Change, Changes
from services.sessions.store import Position

MAX_WAITING: Final = 1000
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Changes that wait for one follower. One that takes them more slowly than they come is cut."""

MAX_KEPT: Final = 10_000
MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""The latest changes, for who comes back."""


class Event(NamedTuple):
    """One event for a follower, who is at `position` after it; "" if it moves nobody."""

    kind: str
    data: bytes
    position: str = ""


class Commit:
    """The changes of a commit, each written once for all followers."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.position = ":".join(map(str, changes.after))
        self._data = [msgspec.json.encode(view_of(change)) for change in changes.changes]
        unsaid = (name for change in changes.changes for name in change.channels[MAX_CHANNELS:])
        self.size = sum(map(len, self._data)) + sum(map(len, unsaid))

    def __len__(self) -> int:
        return len(self._data)

    def events(self, filter_: LiveFilter) -> list[Event]:
        """What it is to one follower. Only after the last event the follower is at the position of the commit."""
        taken = [(one, data) for one, data in zip(self.changes.changes, self._data, strict=True) if filter_.takes(one)]
        last = len(taken) - 1
        return [
            Event(one.change, data, self.position if place == last else "") for place, (one, data) in enumerate(taken)
        ]


class LiveFilter(NamedTuple):
    """Whose changes are followed; None is no condition."""

    user: str | None = None
    edge: str | None = None
    channel: str | None = None

    def takes(self, change: Change) -> bool:
        """Whether the change is followed. A session that was removed is told to everybody, as nothing else is known;
        one that has left the edge, once more."""
        session = change.session
        if session is None:
            return True
        return (
            (self.user is None or session.user == self.user)
            and (self.edge is None or self.edge in (session.edge, change.left_edge))
            and (self.channel is None or self.channel in change.channels)
        )


class Follower:
    """One who follows. `wake` is called when there is something to take."""

    def __init__(self, filter_: LiveFilter, wake: Callable[[], None]) -> None:
        self._filter = filter_
        self._wake = wake
        self._events: list[Event] = []
        self._size = 0  # of their data
        self.position = ""  # up to where nothing was missed, once all is taken
        self.closed = False

    def take(self) -> list[Event]:
        """What has come since the last call."""
        taken, self._events, self._size = self._events, [], 0
        return taken

    def tell(self, commit: Commit) -> None:
        """A commit's changes. A follower for whom too much waits is cut."""
        if self.closed:
            return
        events = commit.events(self._filter)
        self.position = commit.position
        self._size += size_of(events)
        if len(self._events) + len(events) > MAX_WAITING or self._size > MAX_WAITING_BYTES:
            self._events.clear()
            most = f"{MAX_WAITING} changes, or {MAX_WAITING_BYTES // 1024**2} MiB of them,"
            self.close("slow", f"{most} wait for you; follow again with Last-Event-ID")
        elif events:
            self._events.extend(events)
            self._wake()

    def reset(self, why: str) -> None:
        """Changes were missed: what the follower knows must be read anew."""
        if not self.closed:
            self._events, self._size = [Event("reset", _said(why))], 0
            self._wake()

    def refuse(self) -> None:
        """The follower may not know what waits for it, nor what comes."""
        self._events, self._size = [], 0
        self.close("refused", "the API key no longer reads: it was taken back, or has another scope")

    def close(self, kind: str, why: str) -> None:
        """Nothing more comes after this event."""
        if not self.closed:
            self._events.append(Event(kind, _said(why)))
            self.closed = True
            self._wake()


class Hub:
    """All followers of this process. `want` is called when one comes: changes are told from then on."""

    def __init__(self, want: Callable[[], None] = lambda: None) -> None:
        self._want = want
        self._followers: set[Follower] = set()
        self._kept: deque[Commit] = deque()
        self._count = self._size = 0

    def __len__(self) -> int:
        return len(self._followers)

    def heard(self, changes: Changes) -> None:
        """A commit, of whichever instance."""
        last = self._kept[-1].changes if self._kept else None
        if last is not None and last.generation != changes.generation:  # a letter was replayed, or a model rebuilt
            changes = replace(changes, changes=[], whole=False)
        commit = Commit(changes)
        if not changes.whole or (last is not None and last.after != changes.before):
            self.missed()
            if self._followers:
                self._want()  # the instance that folds may have started a moment ago
        else:
            for follower in self._followers:
                follower.tell(commit)
        self._keep(commit)

    def _keep(self, commit: Commit) -> None:
        self._kept.append(commit)
        self._count += len(commit)
        self._size += commit.size
        while len(self._kept) > 1 and (max(self._count, len(self._kept)) > MAX_KEPT or self._size > MAX_KEPT_BYTES):
            oldest = self._kept.popleft()
            self._count -= len(oldest)
            self._size -= oldest.size

    def missed(self) -> None:
        """Changes may have been missed: all followers are told to read anew."""
        self._kept.clear()
        self._count = self._size = 0
        for follower in self._followers:
            follower.reset("some changes were missed: read the sessions again")

    def follow(self, filter_: LiveFilter, since: Position | None, wake: Callable[[], None]) -> Follower:
        """A new follower; one who comes back with the position `since` first gets what was missed, or a reset."""
        follower = Follower(filter_, wake)
        if since is not None:
            missed = self._since(since)
            events = [event for commit in missed or () for event in commit.events(filter_)]
            if missed is None or len(events) > MAX_WAITING or size_of(events) > MAX_WAITING_BYTES:
                follower.reset("what changed in the meantime is no longer known: read the sessions again")
            else:
                for commit in missed:
                    follower.tell(commit)
        self._followers.add(follower)
        self._want()
        return follower

    def leave(self, follower: Follower) -> None:
        """One follows no more."""
        self._followers.discard(follower)

    def close(self) -> None:
        """Ends all: this process stops."""
        for follower in self._followers:
            follower.close("stopping", "this instance stops: follow again with Last-Event-ID")

    def _since(self, since: Position) -> list[Commit] | None:
        """The commits after a position; None if some of them are not kept. The last one alone may have lost its own
        changes: nobody came from before it."""
        kept = list(self._kept)
        if kept and kept[-1].changes.after == tuple(since):
            return []
        for number, commit in enumerate(kept):
            if commit.changes.before == tuple(since) and all(one.changes.whole for one in kept[number:]):
                return kept[number:]
        return None


def size_of(events: Iterable[Event]) -> int:
    """The bytes of what they say."""
    return sum(len(event.data) for event in events)


def _said(why: str) -> bytes:
    return msgspec.json.encode(Said(message=why))


def written(event: Event) -> bytes:
    """An event as the stream has it (text/event-stream)."""
    id_ = f"id: {event.position}\n" if event.position else ""
    return f"event: {event.kind}\n{id_}data: ".encode() + event.data + b"\n\n"
