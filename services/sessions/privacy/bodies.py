"""Reads the bodies of calls, and says in plain words what is wrong with one. Pure."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct, structs


class BadBody(ValueError):
    """The body is not valid for this call; the text says what is expected."""


class ExportCall(Struct):
    """Whose data is exported."""

    user: str


class EraseCall(Struct):
    """Who is erased, or only counted (`dry_run`), and whether their clients are disconnected before."""

    user: str
    dry_run: bool = False
    disconnect: bool = False


_Call = TypeVar("_Call", ExportCall, EraseCall)
_EXPECTED: Final = {str: "text", bool: "true or false"}


def read_call(body: bytes, shape: type[_Call]) -> _Call:
    """The call in a body. Raises `BadBody`."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadBody('expected a JSON object, such as {"user": "ann"}')
    fields = {field.name: field for field in structs.fields(shape)}
    for name, value in found.items():
        if name not in fields:
            shown = name[:64].encode(errors="replace").decode()
            raise BadBody(f'unknown field "{shown}", expected {", ".join(f"`{each}`" for each in fields)}')
        if type(value) is not fields[name].type:
            raise BadBody(f"expected {_EXPECTED[fields[name].type]} as `{name}`")
    if "user" not in found:
        raise BadBody("expected a user id as `user`")
    return shape(**found)
