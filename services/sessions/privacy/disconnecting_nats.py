"""Ends the connections of a user by the server API, which any edge answers."""

from __future__ import annotations

from typing import Any

import msgspec

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.sessions.privacy.person import Person


class _Answer(msgspec.Struct):
    error: Any = None


async def disconnect(link: NatsLink, person: Person) -> None:
    """Ends all connections of the user in a way after which clients do not reconnect. Raises `NatsAway`,
    `NatsRefused`."""
    call = msgspec.json.encode({"user": person.user})
    _, answer = await link.request(subjects.API_DISCONNECT, call)
    try:
        error = msgspec.json.decode(answer, type=_Answer).error
    except msgspec.DecodeError:
        raise NatsAway("the reply to api.disconnect is not an edge's") from None
    if error is not None:
        raise NatsRefused(f"the edges do not disconnect the user: {msgspec.json.encode(error).decode()}")
