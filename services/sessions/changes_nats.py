"""Changes of sessions on NATS: the instance that folds publishes them to all instances, each of which has its own
followers.

The changes are worked out only while somebody follows. Otherwise only the positions of a commit are published, which
costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import Final

from proto import subjects
from services.chassis.nats.errors import NatsAway, NatsRefused
from services.chassis.nats.link import NatsLink
from services.sessions.changes import Change, Changes, decode_changes, encode_changes
from services.sessions.store import Position

_RESERVE: Final = 1024
"""Bytes of a message that are reserved for NATS."""

WANTED_S: Final = 300.0
"""For how long changes are published after somebody wanted them: a client that lost its stream is back by then."""

_WANT_EVERY_S: Final = 60.0
_WANTED: Final = b"wanted"


class ChangesFeed:
    """Publishes changes, and hears them. Without NATS they are lost: followers notice the gap, as positions do not
    join."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._wanted_until = -math.inf

    @property
    def wanted(self) -> bool:
        """Whether anybody follows changes at any instance, or did so a short time ago."""
        return time.monotonic() < self._wanted_until

    def want(self) -> None:
        """Asks the instance that folds, whichever it is, to publish changes from now on."""
        with contextlib.suppress(NatsAway, NatsRefused):
            self._link.publish(subjects.SESSION_CHANGES, _WANTED)

    async def keep_wanting(self, followed: Callable[[], bool]) -> None:
        """Asks again and again as long as there are followers, until cancelled."""
        while True:
            if followed():
                self.want()
            await asyncio.sleep(_WANT_EVERY_S)

    def tell(self, before: Position, after: Position, changes: list[Change] | None, generation: int = 0) -> None:
        """Publishes that a commit moved the rows from one position to another, with these changes; None: too many, or
        unknown."""
        told = Changes((*before,), (*after,), changes or [], changes is not None, generation)
        data = encode_changes(told)
        if len(data) > max(self._link.max_payload - _RESERVE, 0):
            data = encode_changes(Changes(told.before, told.after, [], whole=False, generation=generation))
        with contextlib.suppress(NatsAway, NatsRefused):
            self._link.publish(subjects.SESSION_CHANGES, data)

    def listen(self, heard: Callable[[Changes], None]) -> None:
        """Calls `heard` with the changes of each commit of any instance, from now on."""

        def handle(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
            if data == _WANTED:
                self._wanted_until = time.monotonic() + WANTED_S
            elif (changes := decode_changes(data)) is not None:
                heard(changes)

        self._link.subscribe(subjects.SESSION_CHANGES, handle)
