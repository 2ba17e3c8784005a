"""Converts a table of the settings, and finds all of its mistakes: msgspec stops at the first.

A wrong value is noted and left out, and the rest is converted again, until nothing is wrong. A check of a whole table
does not count if a key was left out of the table, as it might fail only because of that key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)

MOST: Final = 50
"""The most mistakes that are reported for one section."""
LARGEST: Final = 2**53
"""The largest number in a configuration: JSON, PostgreSQL and JetStream do not accept larger ones."""

_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]*)`")
_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")

Place = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""


def convert_section(
    name: str,
    table: object,
    schema: type[T],
    decode: Callable[[type, object], object],
    left_out: Iterable[Place] = (),
) -> tuple[T | None, list[str]]:
    """The section `name` of this type, or None, and msgspec's messages about its mistakes, whose paths begin with it.

    `decode` makes values of types that msgspec does not know. `left_out` are keys, of any section, that are missing
    because of a mistake that is already known.
    """
    messages = []
    rest = _copied(table)
    for place, why in list(_strange(rest, ())):
        messages.append(_with_path(why, (name, *place)))
        _leave_out(rest, place)
    spoilt = {place[:-1] for place, _ in _strange(table, ())}
    spoilt |= {place[1:-1] for place in left_out if place[0] == name}
    reduced: set[Place] = set()
    made: T | None = None
    while len(messages) < MOST:
        try:
            made = msgspec.convert(rest, schema, strict=True, dec_hook=decode)
            break
        except msgspec.ValidationError as error:
            message = str(error)
            place = _place(message)
            if place in reduced:  # what it lacks now was removed here
                break
            if _is_of_table(message, _at(rest, place)):
                if not any(one[: len(place)] == place for one in spoilt):
                    messages.append(_in_section(message, name))
                _reduce(rest, place)
                reduced.add(place)
            else:
                if not (message.startswith("Object missing") and place in spoilt):
                    messages.append(_in_section(message, name))
                unknown = _UNKNOWN.match(message)
                taken = _leave_out(rest, (*place, unknown[1]) if unknown else place)
                if taken is None:  # the section itself lacks a key
                    break
                spoilt.add(taken)
    return (None if messages else made), messages


def _is_of_table(message: str, value: object) -> bool:
    """Whether the message comes from a check of a whole table (`__post_init__`) rather than from msgspec."""
    return isinstance(value, dict) and not message.startswith(("Expected `", "Object "))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _strange(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Values that are wrong for any key, whatever its type."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _strange(each, (*place, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _strange(each, (*place, number))
    elif isinstance(value, str):
        if not value.isprintable() and any(each < " " and each not in "\n\r\t" for each in value):
            yield place, "expected text without control characters"
    elif isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        yield place, f"expected a number of at most {LARGEST}"


def _place(message: str) -> Place:
    found = _AT.search(message)
    parts = re.findall(r"[^.\[\]]+|\[\d+\]", found[1]) if found else []
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in parts)


def written(place: Place) -> str:
    """The place as text: "http_api.keys[0].name"."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _with_path(message: str, place: Place) -> str:
    return f"{message} - at `$.{written(place)}`"


def _in_section(message: str, section: str) -> str:
    return _with_path(_AT.sub("", message), (section, *_place(message)))


def _at(value: Any, place: Place) -> Any:
    for part in place:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return None
    return value


def _leave_out(rest: Any, place: Place) -> Place | None:
    """Removes the last table key on the way to `place`. Returns the place of that table, None if there is none."""
    while place:
        *above, last = place
        table, place = _at(rest, tuple(above)), tuple(above)
        if isinstance(table, dict):
            return place if table.pop(last, None) is not None else None
    return None


def _reduce(rest: Any, place: Place) -> None:
    """Removes everything but the name from the table at `place`."""
    table = _at(rest, place)
    for key in table.keys() - {"name"}:
        del table[key]
