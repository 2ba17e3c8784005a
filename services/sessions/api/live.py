"""Followers of changes of sessions, and the latest changes for those who come back. Pure.

Commits follow on each other without a gap, so a commit that does not begin where the one before ended shows that some
were missed. Then all followers are told to read anew ("reset"), and nobody can be brought up to date from before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from services.sessions.changes import Change, Changes
from services.sessions.store import Position

MAX_WAITING: Final = 1000
"""Changes that wait for one follower. One that takes them more slowly than they come is cut."""

MAX_KEPT: Final = 10_000
"""The latest changes, for who comes back."""


class Event(NamedTuple):
    """One event for a follower: after it he is at `position`, "" if it moves nobody."""

    kind: str
    data: bytes
    position: str = ""


class LiveFilter(NamedTuple):
    """Whose changes are followed; None is no condition."""

    user: str | None = None
    edge: str | None = None
    channel: str | None = None

    def takes(self, change: Change) -> bool:
        """Whether the change is followed. A session that was removed is told to everybody, as nothing else is known;
        one with more channels than are told to the followers of any."""
        if change.change == "removed":
            return True
        return (
            (self.user is None or change.user == self.user)
            and (self.edge is None or change.edge == self.edge)
            and (self.channel is None or self.channel in change.channels or change.cut)
        )


class Follower:
    """One who follows. `wake` is called when there is something to take."""

    def __init__(self, filter_: LiveFilter, wake: Callable[[], None]) -> None:
        self._filter = filter_
        self._wake = wake
        self._events: deque[Event] = deque()
        self.position = ""  # up to where nothing was missed, once all is taken
        self.closed = False

    def take(self) -> list[Event]:
        """What has come since the last call."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def tell(self, changes: Changes) -> None:
        """A commit's changes. A follower for whom too much waits is cut."""
        if self.closed:
            return
        events = list(events_of(changes, self._filter))
        self.position = ":".join(map(str, changes.after))
        if len(self._events) + len(events) > MAX_WAITING:
            self._events.clear()
            self.close("slow", f"{MAX_WAITING} changes wait for you; follow again with Last-Event-ID")
        elif events:
            self._events.extend(events)
            self._wake()

    def reset(self, why: str) -> None:
        """Changes were missed: what he knows must be read anew."""
        if not self.closed:
            self._events.clear()
            self._events.append(Event("reset", _said(why)))
            self._wake()

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
        self._kept: deque[Changes] = deque()
        self._count = 0

    def __len__(self) -> int:
        return len(self._followers)

    def heard(self, changes: Changes) -> None:
        """A commit, of whichever instance."""
        last = self._kept[-1] if self._kept else None
        if last is not None and last.generation != changes.generation:  # a letter was replayed, or a model rebuilt
            changes = replace(changes, changes=[], whole=False)
        if not changes.whole or (last is not None and last.after != changes.before):
            self.missed()
            if self._followers:
                self._want()  # the instance that folds may have started a moment ago
        else:
            for follower in self._followers:
                follower.tell(changes)
        self._kept.append(changes)
        self._count += len(changes.changes)
        while self._count > MAX_KEPT or len(self._kept) > MAX_KEPT:
            self._count -= len(self._kept.popleft().changes)

    def missed(self) -> None:
        """Changes may have been missed: all followers are told to read anew."""
        self._kept.clear()
        self._count = 0
        for follower in self._followers:
            follower.reset("changes were missed: read the sessions anew")

    def follow(self, filter_: LiveFilter, since: Position | None, wake: Callable[[], None]) -> Follower:
        """A new follower; one who comes back with the position `since` first gets what he missed, or a reset."""
        follower = Follower(filter_, wake)
        if since is not None:
            missed = self._since(since)
            if missed is None or sum(len(list(events_of(each, filter_))) for each in missed) > MAX_WAITING:
                follower.reset("what changed meanwhile is not known any more: read the sessions anew")
            else:
                for changes in missed:
                    follower.tell(changes)
        self._followers.add(follower)
        self._want()
        return follower

    def leave(self, follower: Follower) -> None:
        """He follows no more."""
        self._followers.discard(follower)

    def close(self) -> None:
        """Ends all: this process stops."""
        for follower in self._followers:
            follower.close("stopping", "this instance stops: follow again with Last-Event-ID")

    def _since(self, since: Position) -> list[Changes] | None:
        """The commits after a position; None if some of them are not kept. The last one alone may have lost its own
        changes: nobody came from before it."""
        kept = list(self._kept)
        if kept and kept[-1].after == tuple(since):
            return []
        for number, changes in enumerate(kept):
            if changes.before == tuple(since) and all(one.whole for one in kept[number:]):
                return kept[number:]
        return None


def events_of(changes: Changes, filter_: LiveFilter) -> Iterator[Event]:
    """The events of a commit for one follower. Only after the last one he is at the position of the commit."""
    taken = [change for change in changes.changes if filter_.takes(change)]
    for number, change in enumerate(taken, 1):
        whole = number == len(taken)
        yield Event(change.change, msgspec.json.encode(change), ":".join(map(str, changes.after)) if whole else "")


def _said(why: str) -> bytes:
    return msgspec.json.encode({"message": why})


def written(event: Event) -> bytes:
    """An event as the stream has it (text/event-stream)."""
    id_ = f"id: {event.position}\n" if event.position else ""
    return f"event: {event.kind}\n{id_}data: ".encode() + event.data + b"\n\n"
