"""The texts of mistakes in the settings: the place, the key, and the value that was expected there.

msgspec finds the mistakes, but words them its own way ("Object contains unknown field `prot` - at `$.edge`"). Its
errors carry no data besides that text, so this module, and no other, takes the text apart: a release of msgspec that
words them differently fails in `tests/chassis/process/test_settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

PREFIX: Final = "FAIRLEAD_"
_SHOWN_LENGTH: Final = 100


def variable_name(path: str) -> str:
    """The variable of a key or section: ``FAIRLEAD_EDGE_PORT`` for "edge.port"."""
    return PREFIX + path.replace(".", "_").upper()


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about the unknown `name`: what may have been meant, or nothing."""
    import difflib  # 2 ms of a start without mistakes

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def plain(message: str) -> str:
    """msgspec's `message` without the place and the quotes: "expected int, got str"."""
    message = re.sub(r" - at `[^`]*`$", "", message).replace("`", "")
    return message[0].lower() + message[1:]


_MEANT: Final = {"bool": "true or false", "int": "a whole number"}


def of_variable(message: str, text: str) -> str:
    """What msgspec's `message` says about the `text` of a variable. Secrets are texts: no other kind is shown."""
    said = re.fullmatch(r"expected (bool|int)\b(.*?)(?:, got str)?", plain(message))
    return f"expected {_MEANT[said[1]]}{said[2]}, got {text[:_SHOWN_LENGTH]!a}" if said else plain(message)


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
    return f"{where}: {place}: {plain(message)}" if path else f"{where}: {plain(message)}"


def _path(message: str) -> str:
    """The place that msgspec's `message` speaks of, such as "channel.namespaces[1].name"."""
    found = re.search(r" - at `\$\.?([^`]*)`$", message)
    return found[1] if found else ""


def _where(message: str, source: str, environ: Mapping[str, str]) -> str:
    """Where the mistake stands: in the file, in a variable, or (of a whole section) in either."""
    path = _path(message)
    variable = variable_name(path)
    if variable in environ:
        return variable
    of_section = sorted(name for name in environ if name.startswith(f"{variable}_"))
    if "." in path or "unknown field" in message or not of_section:
        return source
    return f"{source} or {', '.join(of_section)}"


def _named(path: str, tables: Mapping[str, Any]) -> str:
    """`path` with the names of the tables that it counts: namespaces[1] ("chat")."""
    value: Any = tables
    named = ""
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", path):
        counted = part.startswith("[")
        try:
            value = value[int(part[1:-1])] if counted else value[part]
        except (LookupError, TypeError):
            value = None
        name = value.get("name") if counted and isinstance(value, dict) else None
        named += part if counted else f".{part}"
        named += f' ("{name}")' if isinstance(name, str) else ""
    return named.lstrip(".")


def _keys_at(schema: type[Struct], path: str) -> list[str]:
    """The keys that the table at `path` may have."""
    kind: Any = schema
    for name in re.sub(r"\[[^]]*\]", "", path).split("."):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        of_key = fields.get(name)
        members = (of_key, *getattr(of_key, "__args__", ()))
        kind = next((one for one in members if isinstance(one, type) and issubclass(one, Struct)), None)
        if kind is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]
