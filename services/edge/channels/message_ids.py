"""The message ids of publications with an idempotency key: the broker stores what has the same id once. Pure.

They are in base64, since a key may hold any character.
"""

from __future__ import annotations

import base64

from msgspec.json import Encoder

_encode = Encoder().encode


def of_client(channel: str, user: str, key: str) -> str:
    """Of a key that a client gave: users cannot take each other's."""
    return "client." + base64.b64encode(_encode([channel, user, key])).decode()


def of_backend(channel: str, key: str) -> str:
    """Of a key that a backend gave, in a call of the server API or in a publish hook's answer: the channel's own."""
    return ".".join(("api", base64.b64encode(f"{channel}\n{key}".encode()).decode()))  # joined, as it is no subject
