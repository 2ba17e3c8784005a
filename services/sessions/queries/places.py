"""Where a page of an answer ends: the key of its last row, in the order of its question. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from services.sessions.queries.periods import FIRST_DAY, LAST_DAY

_Moment = Annotated[datetime, Meta(tz=True)]
_Text = Annotated[str, Meta(max_length=2048)]


class Place(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """After the session `id`, which was opened at `at`."""

    at: _Moment
    id: _Text


class ChannelPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """After the channel of this name, which had this number of subscribers."""

    subscribers: Annotated[int, Meta(ge=0, lt=2**31)]
    name: _Text


class UserPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """After this user, whose latest arrival was at `at`."""

    at: _Moment
    user: _Text


class RefusalPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """After the refusal of this number, at `at`."""

    at: _Moment
    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class EdgePlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """After this run of an edge, which began at `at`."""

    at: _Moment
    instance: _Text


AnyPlace = Place | ChannelPlace | UserPlace | RefusalPlace | EdgePlace
_P = TypeVar("_P", bound=AnyPlace)


def read_place(shape: type[_P], written: bytes) -> _P:
    """The place in this JSON, within the limits of PostgreSQL and its driver. Raises ValueError."""
    found = msgspec.json.decode(written, type=shape)
    return structs.replace(found, **{name: _asked(value) for name, value in structs.asdict(found).items()})


def _asked(value: Any) -> Any:
    if isinstance(value, datetime):
        return min(max(value, FIRST_DAY), LAST_DAY)
    if isinstance(value, str) and b"\0" in value.encode():
        raise ValueError("a text with NUL")
    return value
