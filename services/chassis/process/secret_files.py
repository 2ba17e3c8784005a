"""Secrets in files of their own, as Docker and Kubernetes hand them out.

Instead of a key that is a `Secret`, its name with `FILE_SUFFIX` may be given: the path of a file whose content is the
value; one line break at its end is dropped. For example, "key_file" replaces "key"; its variable then ends in "_FILE".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import fields

from services.chassis.process.configured_files import read_configured
from services.chassis.process.every_mistake import Place, written
from services.chassis.process.settings_errors import variable_name

Secret = Annotated[str, Meta(extra={"secret": True})]
"""A text that must not be shown, and that may be in a file of its own."""

FILE_SUFFIX: Final = "_file"
MAX_SECRET_BYTES: Final = 64 * 1024

fields_of: Final = cache(fields)
"""The fields of a struct. Without the cache its annotations are evaluated each time."""


def is_secret(kind: Any) -> bool:
    """Whether a key of this type is a `Secret`."""
    notes = getattr(kind, "__metadata__", ())
    return any(isinstance(note, Meta) and (note.extra or {}).get("secret") for note in notes)


def with_secrets(
    schema: type[Struct], tables: Mapping[str, Any], source: str, environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[Place, str]]:
    """The tables of a configuration, with secrets in place of the paths of their files; and the places of secrets that
    are left out, each with the mistake: a file that cannot be read, or is empty. The mistake names the key or the
    variable.

    The tables come from the file `source`, overridden by variables of `environ`. A secret that is given both ways is a
    mistake too.
    """
    sections = {field.encode_name: field.type for field in fields_of(schema)}
    filler = _Filler(source, environ)
    return {name: filler.filled(sections[name], table, (name,)) for name, table in tables.items()}, filler.mistakes


class _Filler:
    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ
        self.mistakes: dict[Place, str] = {}

    def filled(self, kind: Any, value: Any, place: Place) -> Any:
        schema = next(_structs(kind), None)
        if schema is None:
            return value
        if isinstance(value, list):
            return [self.filled(schema, each, (*place, number)) for number, each in enumerate(value)]
        if not isinstance(value, dict):  # a mistake, which is found later
            return value
        filled = dict(value)
        for field in fields_of(schema):
            key = field.encode_name
            if not is_secret(field.type):
                if key in filled:
                    filled[key] = self.filled(field.type, filled[key], (*place, key))
            elif key + FILE_SUFFIX in filled:
                self._fill(filled, key, place)
        return filled

    def _fill(self, table: dict[str, Any], key: str, place: Place) -> None:
        name = written((*place, key))
        variable = variable_name(name + FILE_SUFFIX)
        where = variable if variable in self._environ else f"{self._source}: {name}{FILE_SUFFIX}"
        path, given = table.pop(key + FILE_SUFFIX), table.pop(key, None)
        try:
            if given is not None:
                raise ValueError(f"{where}: {name} is given too; expected one of the two")
            table[key] = _content(path, where)
        except ValueError as error:
            self.mistakes[*place, key] = str(error)


def _structs(kind: Any) -> Iterator[type[Struct]]:
    for each in (kind, *getattr(kind, "__args__", ())):
        if isinstance(each, type) and issubclass(each, Struct):
            yield each


def _content(name: object, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: expected the path of a file")
    try:
        data = read_configured(Path(name), MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not a path"
        raise ValueError(f"{where}: {name!a} cannot be read: {why}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"{where}: {name!a} has more than {MAX_SECRET_BYTES} bytes")
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{where}: {name!a} is not text in UTF-8") from None
    if not text:
        raise ValueError(f"{where}: {name!a} is empty")
    return text
