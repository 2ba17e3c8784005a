"""Changes of sessions on NATS: the instance that folds tells all instances, each of which has followers of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from proto import subjects
from services.chassis.nats.errors import NatsAway, NatsRefused
from services.chassis.nats.link import NatsLink
from services.sessions.changes import Change, Changes, decode_changes, encode_changes
from services.sessions.store import Position

_RESERVE: Final = 1024
"""Bytes of a message that are left to NATS."""


class ChangesFeed:
    """Tells changes, and hears them. Without NATS they are lost: who follows sees the gap, as positions do not join."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link

    def tell(self, before: Position, after: Position, changes: list[Change] | None) -> None:
        """A commit moved the rows from one position to the other, with these changes; None: too many."""
        told = Changes((*before,), (*after,), changes or [], changes is not None)
        data = encode_changes(told)
        if len(data) > max(self._link.max_payload - _RESERVE, 0):
            data = encode_changes(Changes(told.before, told.after, [], whole=False))
        with contextlib.suppress(NatsAway, NatsRefused):
            self._link.publish(subjects.SESSION_CHANGES, data)

    def listen(self, heard: Callable[[Changes], None]) -> None:
        """Calls `heard` with the changes of each commit, of whichever instance, from now on."""

        def handle(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
            changes = decode_changes(data)
            if changes is not None:
                heard(changes)

        self._link.subscribe(subjects.SESSION_CHANGES, handle)
