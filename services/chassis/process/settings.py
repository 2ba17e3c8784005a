"""One TOML file plus ``FAIRLEAD_*`` variables become one frozen, checked settings object, or an error that says why.

Each service describes the sections that it reads as msgspec structs; this module fills them. A variable's name is the
key's path: `edge.port` is ``FAIRLEAD_EDGE_PORT``; it wins over the file. Keys of other services' sections are theirs to
check. The file is named by ``FAIRLEAD_CONFIG``, `fairlead.toml` in the working directory by default, and may be absent.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

PREFIX = "FAIRLEAD_"
CONFIG_VARIABLE = "FAIRLEAD_CONFIG"
SECTIONS = frozenset({"nats", "log", "http_api", "edge", "client", "channel", "sessions", "postgres", "metrics"})
"""Every section that some service reads. A section outside of this list is a mistake wherever it stands."""

SESSION_LOG_MAX_AGE_S = 7 * 24 * 3600.0
"""How long PostgreSQL may be away, and how far back a read model can be made anew. The default; edges have it too."""

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]

T = TypeVar("T", bound=Struct)


class ConfigurationError(Exception):
    """The settings are not usable. The text names the key, what was expected, and where it was found."""


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of a section: unknown keys are refused."""


class NatsSettings(Section, frozen=True):
    url: str = "nats://127.0.0.1:4222"
    """Several servers of one cluster are separated by commas. User and password may stand in it."""
    credentials_file: str = ""
    """A NATS `.creds` file, empty for none."""


class LogSettings(Section, frozen=True):
    level: str = "info"
    format: str = "text"

    def __post_init__(self) -> None:
        if self.level not in ("debug", "info", "warning", "error"):
            raise ValueError('expected log.level "debug", "info", "warning" or "error"')
        if self.format not in ("text", "json"):
            raise ValueError('expected log.format "text" or "json"')


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 100 * 365 * 86400.0  # beyond it lie typing errors and infinity, which no timer and no stream takes


class Duration(float):
    """Seconds. Written as a number of seconds, or as "300s", "5m", "1h30m"."""

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Raises ValueError for anything else, for a negative one, and for more than `_LONGEST_S`."""
        seconds = -1.0
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = value
        elif isinstance(value, str):
            if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
                seconds = float(value)
            else:
                parts = _DURATION.findall(value)
                if parts and "".join(number + unit for number, unit in parts) == value:
                    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if 0 <= seconds <= _LONGEST_S:  # false for NaN
            return cls(seconds)
        raise ValueError(f'expected a duration such as 300, "300s" or "5m", got {value!r}')


def _decode_custom(kind: type, value: object) -> object:
    if kind is Duration:
        return Duration.parse(value)
    raise NotImplementedError(kind)


def load(schema: type[T], environ: Mapping[str, str]) -> T:
    """Settings of the shape `schema`, a struct whose fields are sections.

    Raises `ConfigurationError` for a file that cannot be read, an unknown key, a value of another type, or a bound
    that is not kept.
    """
    source, tables = _read_file(environ.get(CONFIG_VARIABLE))
    fields = {field.name: field for field in msgspec.structs.fields(schema)}
    for name in tables:
        if name not in SECTIONS:
            raise ConfigurationError(f"{source}: unknown section [{name}]{_hint(name, SECTIONS)}")
    own: dict[str, Any] = {name: table for name, table in tables.items() if name in fields}
    _overlay_variables(schema, own, environ)
    for name, field in fields.items():
        if field.required:  # the section may be absent, its required keys are what is missing
            own.setdefault(name, {})
    try:
        return msgspec.convert(own, schema, strict=True, dec_hook=_decode_custom)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(str(error), schema, _where(str(error), source, environ), own)) from None


def _read_file(name: str | None) -> tuple[str, dict[str, Any]]:
    path = Path(name or "fairlead.toml")
    if name is None and not path.exists():
        return "no configuration file", {}
    try:
        with path.open("rb") as file:
            return str(path), tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror} ({CONFIG_VARIABLE} names it)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None


def _variables(schema: type[Struct]) -> dict[str, tuple[str, str, Any]]:
    """Variable name -> (section, key, type), for every key that is not a table."""
    known = {}
    for section in msgspec.structs.fields(schema):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            for key in msgspec.structs.fields(section.type):
                if not _is_table(key.type):
                    name = f"{PREFIX}{section.name}_{key.encode_name}".upper()
                    known[name] = (section.name, key.encode_name, key.type)
    return known


def _is_table(kind: Any) -> bool:
    members = [kind, *getattr(kind, "__args__", ())]
    return any(isinstance(member, type) and issubclass(member, Struct) for member in members)


def _overlay_variables(schema: type[Struct], own: dict[str, Any], environ: Mapping[str, str]) -> None:
    known = _variables(schema)
    foreign = tuple(f"{PREFIX}{name}_".upper() for name in SECTIONS - {f.name for f in msgspec.structs.fields(schema)})
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or variable.startswith(foreign):
            continue
        if variable not in known:
            raise ConfigurationError(f"environment: unknown variable {variable}{_hint(variable, known)}")
        section, key, kind = known[variable]
        table = own.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigurationError(f"{section}: expected a table, got {type(table).__name__}")
        own[section] = {**table, key: _read_variable(variable, text, kind)}


def _read_variable(variable: str, text: str, kind: Any) -> object:
    value: object = text
    if getattr(kind, "__origin__", None) is list:
        value = [item.strip() for item in text.split(",") if item.strip()]
    try:
        return msgspec.to_builtins(msgspec.convert(value, kind, strict=False, dec_hook=_decode_custom), enc_hook=float)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"environment: {variable}: {_plain(str(error))}") from None


def _hint(name: str, known: Any) -> str:
    import difflib  # 2 ms of a start without mistakes

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _plain(message: str) -> str:
    message = re.sub(r" - at `[^`]*`$", "", message).replace("`", "")
    return message[0].lower() + message[1:]


def _path(message: str) -> str:
    """The place that msgspec's `message` speaks of, such as "channel.namespaces[1].name"."""
    found = re.search(r" - at `\$\.?([^`]*)`$", message)
    return found[1] if found else ""


def _where(message: str, source: str, environ: Mapping[str, str]) -> str:
    """Where the mistake stands: in the file, in a variable, or (of a whole section) in either."""
    path = _path(message)
    variable = f"{PREFIX}{path.replace('.', '_')}".upper()
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


def _explain(message: str, schema: type[Struct], source: str, tables: Mapping[str, Any]) -> str:
    path = _path(message)
    place = _named(path, tables)
    unknown = re.match(r"Object contains unknown field `([^`]*)`", message)
    if unknown:
        return f"{source}: unknown key {place}.{unknown[1]}{_hint(unknown[1], _keys_at(schema, path))}"
    missing = re.match(r"Object missing required field `([^`]*)`", message)
    if missing:
        key = f"{place}.{missing[1]}".lstrip(".")
        variable = PREFIX + key.replace(".", "_").upper()
        return f"{source}: {key} is missing" + (f"; set it there or as {variable}" if "[" not in key else "")
    return f"{source}: {place}: {_plain(message)}" if path else f"{source}: {_plain(message)}"


def _keys_at(schema: type[Struct], path: str) -> list[str]:
    kind: Any = schema
    for name in re.sub(r"\[[^]]*\]", "", path).split("."):
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
        kind = fields.get(name)
        kind = next((m for m in (kind, *getattr(kind, "__args__", ())) if _is_table(m) and isinstance(m, type)), None)
        if kind is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]
