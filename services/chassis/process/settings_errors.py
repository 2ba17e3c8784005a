"""The texts of mistakes in the settings: the place, the key, and the value that was expected there.

msgspec finds the mistakes, but words them its own way ("Object contains unknown field `prot` - at `$.edge`"). Its
errors carry nothing but that text, so this module, and no other, parses it: a release of msgspec that words errors
differently fails in `tests/chassis/process/test_settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Meta, Struct

PREFIX: Final = "FAIRLEAD_"
_SHOWN_LENGTH: Final = 100


def variable_name(path: str) -> str:
    """The variable of a key or section: ``FAIRLEAD_EDGE_PORT`` for "edge.port"."""
    return PREFIX + path.replace(".", "_").upper()


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about the unknown `name`: what may have been meant, or nothing."""
    import difflib  # 2 ms that a start without mistakes saves

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


FORM: Final = "form"
"""The key under which a type with a pattern says in words what it expects."""

_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "object": "a table",
    "array": "a list",
    "date": "a date",
    "datetime": "a date with a time",
    "time": "a time",
}


def plain(message: str) -> str:
    """msgspec's `message` without the place, in words: "expected a whole number, got text"."""
    message = re.sub(r" - at `[^`]*`$", "", message)
    if message.startswith("Expected `"):
        message = re.sub(r"`([a-z |]+)`", lambda types: _worded(types[1]), message)
        message = re.sub(r" (?:of length )?>= (\S+)", r" of at least \1", message)
        message = re.sub(r" (?:of length )?<= (\S+)", r" of at most \1", message)
    return message[0].lower() + message[1:].replace("`", "")


def _worded(types: str) -> str:
    return " or ".join([_WORDS.get(each, each) for each in types.split(" | ") if each != "null"])


def of_variable(message: str, text: str) -> str:
    """What msgspec's `message` says about the `text` of a variable. Text is never shown, as it may be a secret; other
    values are."""
    said = plain(message).removesuffix(", got text")
    kinds = tuple(f"expected {_WORDS[kind]}" for kind in ("int", "float", "bool"))
    return f"{said}, got {text[:_SHOWN_LENGTH]!a}" if said.startswith(kinds) else said


def explain(
    message: str, schema: type[Struct], source: str, environ: Mapping[str, str], tables: Mapping[str, Any]
) -> str:
    """The whole sentence for msgspec's `message` about `tables`, read from the file `source` and from `environ`."""
    path = _path(message)
    place = _named(path, tables)
    where = _where(message, source, environ)
    unknown = re.match(r"Object contains unknown field `([^`]*)`", message)
    if unknown:
        return f"{where}: unknown key {place}.{unknown[1]}{hint(unknown[1], _keys_at(schema, path))}"
    missing = re.match(r"Object missing required field `([^`]*)`", message)
    if missing:
        key = f"{place}.{missing[1]}".lstrip(".")
        return f"{where}: {key} is missing" + (f"; set it there or as {variable_name(key)}" if "[" not in key else "")
    said = _in_words(message, schema, path, tables)
    return f"{where}: {place}: {said}" if path else f"{where}: {said}"


def _in_words(message: str, schema: type[Struct], path: str, tables: Mapping[str, Any]) -> str:
    """What is wrong at `path`. A value is shown only if it is a number: secrets are text."""
    said, value = plain(message), _value_at(path, tables)
    if isinstance(value, str):
        notes = getattr(_kind_at(schema, path), "__metadata__", ())
        extras = [note.extra or {} for note in notes if isinstance(note, Meta)]
        if form := next((each[FORM] for each in extras if FORM in each), ""):
            return f"expected {form}"
        if ", got text" in said and re.fullmatch(r"-?\d+|true|false", value):
            return f"{said}: leave out the quotes"
    if isinstance(value, int | float) and ", got " not in said:
        return f"{said}, got {value}"
    return said


def _path(message: str) -> str:
    """The place that msgspec's `message` speaks of, such as "channel.namespaces[1].name"."""
    found = re.search(r" - at `\$\.?([^`]*)`$", message)
    return found[1] if found else ""


def _where(message: str, source: str, environ: Mapping[str, str]) -> str:
    """Where the mistake is: in the file, in a variable, or, for a mistake of a whole section, in either."""
    path = _path(message)
    variable = variable_name(path)
    if variable in environ:
        return variable
    of_section = sorted(name for name in environ if name.startswith(f"{variable}_"))
    if "." in path or "unknown field" in message or not of_section:
        return source
    return f"{source} or {', '.join(of_section)}"


def _named(path: str, tables: Mapping[str, Any]) -> str:
    """`path` with the names of the tables that it numbers: namespaces[1] ("chat")."""
    named = before = ""
    for part in _parts(path):
        counted = part.startswith("[")
        before += part if counted else f".{part}"
        value = _value_at(before, tables) if counted else None
        name = value.get("name") if isinstance(value, dict) else None
        named += part if counted else f".{part}"
        named += f' ("{name}")' if isinstance(name, str) else ""
    return named.lstrip(".")


def _parts(path: str) -> list[str]:
    return re.findall(r"[^.\[\]]+|\[\d+\]", path)


def _value_at(path: str, tables: Mapping[str, Any]) -> Any:
    """The value at `path`; None if there is none."""
    value: Any = tables
    for part in _parts(path):
        try:
            value = value[int(part[1:-1])] if part.startswith("[") else value[part]
        except (LookupError, TypeError):
            return None
    return value


def _kind_at(schema: type[Struct], path: str) -> Any:
    """The type of the key at `path`, None if there is none."""
    kind: Any = schema
    for name in [part for part in _parts(path) if not part.startswith("[")]:
        table = _table_of(kind)
        fields = {} if table is None else {field.encode_name: field.type for field in msgspec.structs.fields(table)}
        kind = fields.get(name)
    return kind


def _table_of(kind: Any) -> type[Struct] | None:
    members = (kind, *getattr(kind, "__args__", ()))
    return next((one for one in members if isinstance(one, type) and issubclass(one, Struct)), None)


def _keys_at(schema: type[Struct], path: str) -> list[str]:
    """The keys that the table at `path` may have."""
    table = _table_of(_kind_at(schema, path))
    return [] if table is None else [field.encode_name for field in msgspec.structs.fields(table)]
