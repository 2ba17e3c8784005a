"""The message ids of publications with an idempotency key: the broker stores an id only once. Pure.

The ids are in base64, since a key may hold any character.
"""

from __future__ import annotations

import base64

from msgspec.json import Encoder

_encode = Encoder().encode


def of_client(channel: str, user: str, key: str) -> str:
    """The id for a key from a client. It contains the user, so that users cannot take each other's keys."""
    return "client." + base64.b64encode(_encode([channel, user, key])).decode()


def of_backend(channel: str, key: str) -> str:
    """The id for a key from a backend, in a call of the server API or a publish hook's answer. It contains the
    channel."""
    return ".".join(("api", base64.b64encode(f"{channel}\n{key}".encode()).decode()))  # joined, as it is not a subject
