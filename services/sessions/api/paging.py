"""Pages of a list, and the cursors that lead from one to the next. Pure.

A cursor is the place where its page ended, with the name of the list and a digest of the filters: no other list accepts
it, nor does this list with other filters, as the answer would begin somewhere in the middle.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from services.sessions.api.parameters import BadParameter, Parameter, Values
from services.sessions.queries.places import AnyPlace, read_place

NO_CURSOR: Final = "expected the value of `next` in an earlier answer"
OF_ANOTHER_LIST: Final = "this cursor is of another list: expected the value of `next` in an earlier answer of this one"
OF_OTHER_FILTERS: Final = (
    "this cursor is of a list with other filters: from page to page only `cursor` and `limit` may change"
)


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A cursor as it is encoded: the name of the list, the digest of the filters, the place."""

    of: str
    filters: str
    place: msgspec.Raw


class Asked(NamedTuple):
    """A cursor that was read. Only all values together tell whether its filters are those of the question."""

    filters: str
    place: AnyPlace


_P = TypeVar("_P", bound=AnyPlace)
_decode: Final = msgspec.json.Decoder(_Cursor).decode


class Paged(Generic[_P]):
    """The list `name`, whose places have this shape. `filters` are the parameters that say what is in it. A period or
    moment whose default is the present is not among them: a caller who names it from the second page on, as the first
    answer gave it, goes on with the same list."""

    def __init__(self, name: str, shape: type[_P], filters: Sequence[Parameter] = (), described: str = "") -> None:
        self._name = name
        self._shape = shape
        self._filters = sorted(each.name for each in filters)
        description = f"`next` of the previous page, with the same filters{described}."
        self.cursor = Parameter("cursor", description, {"type": "string"}, self._read)

    def after(self, values: Values) -> _P | None:
        """The place after which the page begins; None for the first one. Raises `BadParameter` for a cursor of other
        filters."""
        asked = values.get(self.cursor.name)
        if asked is None:
            return None
        if asked.filters != self._digest(values):
            raise BadParameter(self.cursor.name, OF_OTHER_FILTERS)
        place: _P = asked.place
        return place

    def next_page(self, values: Values, rows: Sequence[Any], limit: int, place_of: Callable[[Any], _P]) -> str | None:
        """The cursor of the page after the first `limit` of `rows`; None if there are no more."""
        return self.cursor_at(values, place_of(rows[limit - 1])) if len(rows) > limit else None

    def cursor_at(self, values: Values, place: _P) -> str:
        """The cursor of the page that follows on `place`."""
        cursor = _Cursor(self._name, self._digest(values), msgspec.Raw(msgspec.json.encode(place)))
        return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode()

    def _digest(self, values: Values) -> str:
        given = [(name, values[name]) for name in self._filters if name in values]
        return blake2b(msgspec.json.encode(given), digest_size=6).hexdigest()

    def _read(self, cursor: str) -> Asked:
        try:
            found = _decode(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
            if found.of == self._name:
                return Asked(found.filters, read_place(self._shape, found.place))
        except (ValueError, RecursionError):  # errors of base64, msgspec and Unicode are ValueErrors
            raise ValueError(NO_CURSOR) from None
        raise ValueError(OF_ANOTHER_LIST)
