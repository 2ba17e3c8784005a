"""Removes the facts about one user from JSON about several users. Pure.

Everything else stays, byte for byte, including members of a batch and types of facts that this version does not know.
"""

from __future__ import annotations

from collections.abc import Set
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from services.sessions.privacy.person import Person
from services.sessions.values import name_of, text

_OPENED: Final = "opened"
_OFFSETS: Final = "offsets"
"""The member of a fact that has values by channel: the end of a connection has the offset in each."""
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct):
    """The members of a fact, or of an event of a webhook, that may name a user."""

    type: Any = None
    user: Any = None
    connection: Any = None
    channel: Any = None
    offsets: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode


class Rewritten(NamedTuple):
    """The bytes without the facts about the user, and how many facts were `removed` and are `left`. `data` is None if
    nothing can stay: the bytes are not JSON of ours, and name the user."""

    data: bytes | None
    removed: int
    left: int = 0


class Connections:
    """The connections of a user: those that are known already, and those that are opened in facts read from now on.
    `erased` are digests of the user's connections in earlier erasures: late facts may name them. `channels` are the
    user's own channels that facts named, as rows have them."""

    def __init__(self, person: Person, known: set[str], erased: Set[bytes] = frozenset()) -> None:
        self._person = person
        self._erased = erased
        self.known = known
        self.channels: set[str] = set()

    def has(self, connection: str) -> bool:
        """Whether a connection is the user's."""
        if connection in self.known:
            return True
        if not self._erased or connection_digest(connection) not in self._erased:
            return False
        self.known.add(connection)
        return True

    def left_of(self, fact: Raw) -> Raw | None:
        """The part of a fact that is not about the user: the fact itself, a fact that no longer names an own channel of
        the user, or nothing. If a fact opens a connection of the user, later facts about that connection are about the
        user, too."""
        try:
            named = _decode_named(fact)
        except _DECODE_ERRORS:
            return fact
        connection = name_of(named.connection) if isinstance(named.connection, str) else ""
        if self._person.has_id(named.user):
            if named.type == _OPENED and connection:
                self.known.add(connection)
            return None
        if self.has(connection):
            return None
        if self._person.owns(named.channel):
            self.channels.add(text(named.channel))
            return None
        if isinstance(named.offsets, dict):
            owned = {channel for channel in named.offsets if self._person.owns(channel)}
            self.channels.update(map(text, owned))
            return _without_offsets(fact, owned) if owned else fact
        return fact

    def facts_in(self, data: bytes) -> list[Raw]:
        """The facts about the user in a message of the session log, or in the body of a webhook's request."""
        return [fact for fact in facts_of(data) if self.left_of(fact) is None]

    def rewritten(self, data: bytes) -> Rewritten | None:
        """The message, or body, without the facts about the user; None if there are none."""
        members = _members(data)
        events = None if members is None else _events(members)
        if members is None or events is None:
            return Rewritten(None, 1) if self._person.is_named_in(data) else None
        left = [self.left_of(fact) for fact in events]
        changed = sum(mine is not theirs for mine, theirs in zip(left, events, strict=True))
        if not changed:
            return None
        kept = [fact for fact in left if fact is not None]
        members["events"] = Raw(_encode(kept))
        return Rewritten(_encode(members), changed, len(kept))


def connection_digest(connection: str) -> bytes:
    """The digest that is kept of a connection of an erased user, as long as the log may have facts about it."""
    return sha256(connection.encode()).digest()


def _without_offsets(fact: Raw, channels: set[str]) -> Raw:
    """The fact without the offsets in these channels."""
    members = _decode_members(fact)
    kept = {name: offset for name, offset in _decode_members(members[_OFFSETS]).items() if name not in channels}
    if kept:
        members[_OFFSETS] = Raw(_encode(kept))
    else:
        del members[_OFFSETS]  # as edges leave out what is empty
    return Raw(_encode(members))


def facts_of(data: bytes) -> list[Raw]:
    """All facts in a message or body; none if it is not JSON of ours."""
    members = _members(data)
    return (None if members is None else _events(members)) or []


def _members(data: bytes) -> dict[str, Raw] | None:
    try:
        return _decode_members(data)
    except _DECODE_ERRORS:
        return None


def _events(members: dict[str, Raw]) -> list[Raw] | None:
    try:
        return _decode_list(members["events"])
    except (KeyError, *_DECODE_ERRORS):
        return None
