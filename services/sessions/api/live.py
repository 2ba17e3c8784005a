"""Followers of changes of sessions, and the latest changes for followers that come back. Pure.

Commits follow each other without a gap, so a commit that does not begin where the one before ended shows that some were
missed. Then all followers are told to read the sessions again ("reset"), and earlier changes are forgotten.
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
"""Changes that may wait for one follower. A follower that reads more slowly than changes come is cut off."""

MAX_KEPT: Final = 10_000
MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""The latest changes that are kept for followers that come back."""


class Event(NamedTuple):
    """One event for a follower, which is at `position` after it; "" if the position does not move."""

    kind: str
    data: bytes
    position: str = ""


class Commit:
    """The changes of a commit, each encoded once for all followers."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.position = ":".join(map(str, changes.after))
        self._data = [msgspec.json.encode(view_of(change)) for change in changes.changes]
        unsaid = (name for change in changes.changes for name in change.channels[MAX_CHANNELS:])
        self.size = sum(map(len, self._data)) + sum(map(len, unsaid))

    def __len__(self) -> int:
        return len(self._data)

    def events(self, filter_: LiveFilter) -> list[Event]:
        """The events of this commit for one follower. Only the last one moves the follower to the position of the
        commit."""
        taken = [(one, data) for one, data in zip(self.changes.changes, self._data, strict=True) if filter_.takes(one)]
        last = len(taken) - 1
        return [
            Event(one.change, data, self.position if place == last else "") for place, (one, data) in enumerate(taken)
        ]


class LiveFilter(NamedTuple):
    """Which changes are followed; None is no condition."""

    user: str | None = None
    edge: str | None = None
    channel: str | None = None

    def takes(self, change: Change) -> bool:
        """Whether the change is followed. All followers learn of a removed session, as only its id is known; those of
        an edge learn once more of a session that has left it."""
        session = change.session
        if session is None:
            return True
        return (
            (self.user is None or session.user == self.user)
            and (self.edge is None or self.edge in (session.edge, change.left_edge))
            and (self.channel is None or self.channel in change.channels)
        )


class Follower:
    """A client that follows. `wake` is called when there is something to take."""

    def __init__(self, filter_: LiveFilter, wake: Callable[[], None]) -> None:
        self._filter = filter_
        self._wake = wake
        self._events: list[Event] = []
        self._size = 0  # of their data
        self.position = ""  # the position of the follower once it has taken all events
        self.closed = False

    def take(self) -> list[Event]:
        """What has come since the last call."""
        taken, self._events, self._size = self._events, [], 0
        return taken

    def tell(self, commit: Commit) -> None:
        """Adds a commit's changes. A follower for which too much waits is cut off."""
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
        """Changes were missed: the follower must read the sessions again."""
        if not self.closed:
            self._events, self._size = [Event("reset", _said(why))], 0
            self._wake()

    def refuse(self) -> None:
        """The follower may not read any more: drops the events that wait, and ends the stream."""
        self._events, self._size = [], 0
        self.close("refused", "the API key no longer reads: it was taken back, or has another scope")

    def close(self, kind: str, why: str) -> None:
        """Ends the stream with this event."""
        if not self.closed:
            self._events.append(Event(kind, _said(why)))
            self.closed = True
            self._wake()


class Hub:
    """All followers of this process. `want` is called when one comes: changes are published from then on."""

    def __init__(self, want: Callable[[], None] = lambda: None) -> None:
        self._want = want
        self._followers: set[Follower] = set()
        self._kept: deque[Commit] = deque()
        self._count = self._size = 0

    def __len__(self) -> int:
        return len(self._followers)

    def heard(self, changes: Changes) -> None:
        """Takes a commit of any instance."""
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
        """Changes may have been missed: tells all followers to read the sessions again."""
        self._kept.clear()
        self._count = self._size = 0
        for follower in self._followers:
            follower.reset("some changes were missed: read the sessions again")

    def follow(self, filter_: LiveFilter, since: Position | None, wake: Callable[[], None]) -> Follower:
        """A new follower. One that comes back with the position `since` first gets what it missed, or a reset."""
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
        """Removes a follower."""
        self._followers.discard(follower)

    def close(self) -> None:
        """Ends all streams, as this process stops."""
        for follower in self._followers:
            follower.close("stopping", "this instance stops: follow again with Last-Event-ID")

    def _since(self, since: Position) -> list[Commit] | None:
        """The commits after a position; None if some of them, or their changes, are not kept. A follower at the
        position of the last commit needs no changes."""
        kept = list(self._kept)
        if kept and kept[-1].changes.after == tuple(since):
            return []
        for number, commit in enumerate(kept):
            if commit.changes.before == tuple(since) and all(one.changes.whole for one in kept[number:]):
                return kept[number:]
        return None


def size_of(events: Iterable[Event]) -> int:
    """The bytes of their data."""
    return sum(len(event.data) for event in events)


def _said(why: str) -> bytes:
    return msgspec.json.encode(Said(message=why))


def written(event: Event) -> bytes:
    """An event as the stream has it (text/event-stream)."""
    id_ = f"id: {event.position}\n" if event.position else ""
    return f"event: {event.kind}\n{id_}data: ".encode() + event.data + b"\n\n"
