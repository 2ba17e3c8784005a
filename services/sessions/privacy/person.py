"""Recognizes a user id, in all forms in which it is written. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from proto.events import user_digest
from services.sessions.values import identity

_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_OF_CLIENT: Final = "client."
"""The prefix of message ids for the idempotency keys that clients give: `services.edge.channels.message_ids` makes
them."""

_decode_key = msgspec.json.Decoder(tuple[str, str, str]).decode


class NobodyMeant(ValueError):
    """The user id is one that nobody has."""


class Person:
    """The user with this id. `stored` is the id as rows have it, `plain` as names of channels in rows have it, and
    `digest` stands for the user in the log after an erasure. Raises `NobodyMeant`."""

    def __init__(self, user: str) -> None:
        if not user:
            raise NobodyMeant('expected a user id: "" is that of all anonymous clients')
        try:
            user.encode()
        except UnicodeEncodeError:
            raise NobodyMeant("expected a user id in valid Unicode") from None
        self.user = user
        self.stored = identity(user)
        self.plain = user.replace("\0", "\ufffd")
        self.digest = user_digest(self.stored)

    def __repr__(self) -> str:
        return f"Person({self.digest[:12]})"  # never the id: it would get into logs

    def has_id(self, value: object) -> bool:
        """Whether a value is the user's id, in its own form or as rows have it."""
        return isinstance(value, str) and value in (self.user, self.stored)

    def owns(self, channel: object) -> bool:
        """Whether a channel belongs to this user alone, by its name: "#<user id>", also behind the name of a namespace.

        A channel that names several users ("talk#1,2") belongs to none of them alone.
        """
        if not isinstance(channel, str) or not channel.endswith((f"#{self.user}", f"#{self.plain}")):
            return False
        before = channel[: -len(self.user) - 1]
        return not before or before.endswith(":") or "," not in self.user

    def gave_key(self, message_id: str) -> bool:
        """Whether this is the message id of an idempotency key that the user gave."""
        if not message_id.startswith(_OF_CLIENT):
            return False
        try:
            channel, user, _ = _decode_key(base64.b64decode(message_id.removeprefix(_OF_CLIENT), validate=True))
        except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
            return False
        return self.has_id(user) or self.owns(channel)

    def is_of_his_channel(self, message_id: str) -> bool:
        """Whether this is the message id of a key that a backend gave for a channel of the user."""
        scheme, _, name = message_id.partition(".")
        try:
            channel = base64.b64decode(name, validate=True).decode().partition("\n")[0] if scheme == "api" else ""
        except (binascii.Error, UnicodeDecodeError):
            return False
        return self.owns(channel)

    def is_named_in(self, text: bytes | str) -> bool:
        """Whether the user's id is in a text, which need not be JSON: between quotation marks, however it is escaped
        there."""
        plain = text if isinstance(text, str) else text.decode(errors="replace")
        return any(f'"{name}"' in form for name in {self.user, self.stored} for form in (plain, _unescaped(plain)))

    def is_in(self, value: Any) -> bool:
        """Whether the user's id, or the name of one of the user's channels, is a string anywhere in a decoded JSON
        value."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, dict):
                waiting += one.keys()
                waiting += one.values()
            elif isinstance(one, list):
                waiting += one
            elif self.has_id(one) or self.owns(one):
                return True
        return False


def _unescaped(text: str) -> str:
    """The text with the escapes of JSON undone."""

    def plain(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _SHORT.get(found[2], found[2])

    return _ESCAPE.sub(plain, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
