"""Where a page of an answer ends, and its cursor, from which the next page goes on. Pure.

A place is the key of the last row in the order of its question. Its cursor says which question it is of, so that no
other takes it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from services.sessions.queries.periods import FIRST_DAY, LAST_DAY

NO_CURSOR: Final = "expected the value of `next` in an earlier answer"

_Moment = Annotated[datetime, Meta(tz=True)]
_Text = Annotated[str, Meta(max_length=2048)]


class Place(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="sessions"):
    """After the session `id`, which was opened at `at`."""

    at: _Moment
    id: _Text


class ChannelPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="channels"):
    """After the channel of this name, which had so many subscribers."""

    subscribers: Annotated[int, Meta(ge=0, lt=2**31)]
    name: _Text


class UserPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="users"):
    """After this user, who came last at `at`."""

    at: _Moment
    user: _Text


class RefusalPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="refusals"):
    """After the refusal of this number, at `at`."""

    at: _Moment
    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class EdgePlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="edges"):
    """After this run of an edge, which began at `at`."""

    at: _Moment
    instance: _Text


AnyPlace = Place | ChannelPlace | UserPlace | RefusalPlace | EdgePlace
_P = TypeVar("_P", bound=AnyPlace)


def cursor_of(place: AnyPlace) -> str:
    """The cursor of the page that follows on `place`."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def cursor_reader(shape: type[_P]) -> Callable[[str], _P]:
    """Reads the place in a cursor of this question. Raises ValueError for any other text."""
    decode = msgspec.json.Decoder(shape).decode

    def read(cursor: str) -> _P:
        try:
            found = decode(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
            return structs.replace(found, **{name: _asked(value) for name, value in structs.asdict(found).items()})
        except ValueError:  # those of base64, msgspec and Unicode are
            raise ValueError(NO_CURSOR) from None

    return read


def _asked(value: Any) -> Any:
    """A value as PostgreSQL and its driver take it. Raises ValueError."""
    if isinstance(value, datetime):
        return min(max(value, FIRST_DAY), LAST_DAY)
    if isinstance(value, str) and b"\0" in value.encode():
        raise ValueError(NO_CURSOR)
    return value
