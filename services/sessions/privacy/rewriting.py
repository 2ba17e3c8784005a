"""Takes what is about one user out of JSON that is about several. Pure.

Everything else stays, byte for byte, also what this version does not know: members of a batch, and types of facts.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from services.sessions.privacy.person import Person
from services.sessions.values import name_of

_OPENED: Final = "opened"
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct):
    """What of a fact, or of an event of a webhook, may name somebody."""

    type: Any = None
    user: Any = None
    connection: Any = None
    channel: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode


class Rewritten(NamedTuple):
    """The bytes without what was about the user, and how many facts that was. `data` is None if nothing can stay: the
    bytes are no JSON of ours, and name him."""

    data: bytes | None
    removed: int
    left: int = 0


class Connections:
    """The connections of a user: those that are known already, and those that the facts in what is read next open."""

    def __init__(self, person: Person, known: set[str]) -> None:
        self._person = person
        self.known = known

    def is_about_him(self, fact: Raw) -> bool:
        """Whether a fact is about him. One that opens a connection of his makes the later ones about it his too."""
        try:
            named = _decode_named(fact)
        except _DECODE_ERRORS:
            return False
        connection = name_of(named.connection) if isinstance(named.connection, str) else ""
        if self._person.has_id(named.user):
            if named.type == _OPENED and connection:
                self.known.add(connection)
            return True
        return connection in self.known or self._person.owns(named.channel)

    def facts_in(self, data: bytes) -> list[Raw]:
        """The facts about him in a message of the session log, or in the body of a webhook's request."""
        return [fact for fact in facts_of(data) if self.is_about_him(fact)]

    def rewritten(self, data: bytes) -> Rewritten | None:
        """The message, or body, without them; None if there are none."""
        members = _members(data)
        events = None if members is None else _events(members)
        if members is None or events is None:
            return Rewritten(None, 1) if self._person.is_named_in(data) else None
        kept = [fact for fact in events if not self.is_about_him(fact)]
        if len(kept) == len(events):
            return None
        members["events"] = Raw(_encode(kept))
        return Rewritten(_encode(members), len(events) - len(kept), len(kept))


def facts_of(data: bytes) -> list[Raw]:
    """All facts in a message or body; none if it is no JSON of ours."""
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
