"""One TOML file plus ``FAIRLEAD_*`` variables become one frozen, checked settings object, or an error that says why.

Each service describes the sections that it reads as msgspec structs; this module fills them. A variable's name is the
key's path: `edge.port` is ``FAIRLEAD_EDGE_PORT``; it wins over the file. A secret may be in a file of its own
(`secret_files`). The keys of another service's sections are checked by that service. ``FAIRLEAD_CONFIG`` names the
file; it is `fairlead.toml` in the working directory by default, and may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from services.chassis.process.configuration_file import CONFIG_VARIABLE, read_file
from services.chassis.process.every_mistake import convert_section
from services.chassis.process.secret_files import FILE_SUFFIX, fields_of, is_secret, with_secrets
from services.chassis.process.settings_errors import PREFIX, explain, hint, of_variable, variable_name

REPLICAS: Final = (1, 3, 5)
"""How many servers may have a stream. An even number survives no more losses than the odd number below it."""
Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrNone = Annotated[int, Meta(ge=0, le=65535)]
"""0: none."""
Count = Annotated[int, Meta(ge=1)]

T = TypeVar("T", bound=Struct)


class ConfigurationError(Exception):
    """The settings are not usable. Each of `mistakes` names a key, what was expected, and where it was found."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of a section. It refuses unknown keys."""


class LogSettings(Section, frozen=True):
    """The section `log`."""

    level: str = "info"
    """"debug", "info", "warning" or "error": records below it are dropped."""
    format: str = "text"
    """"text" for people, or "json" for machines: one object a line."""
    connections: bool = False
    """Whether an edge logs each client that connects or leaves."""
    api_failures: bool = True
    """Whether an edge logs each call of the server API that fails by the caller's fault, at a bounded rate. It always
    logs other failures."""

    def __post_init__(self) -> None:
        if self.level not in ("debug", "info", "warning", "error"):
            raise ValueError('expected log.level "debug", "info", "warning" or "error"')
        if self.format not in ("text", "json"):
            raise ValueError('expected log.format "text" or "json"')


class ProcessSettings(Section, frozen=True):
    """The section `process`, for the process of any service."""

    gc_thresholds: list[int] = msgspec.field(default_factory=lambda: [700, 10, 1000])
    """When Python collects garbage: the first generation after this many new objects, the second after this many
    collections of the first, everything after this many collections of the second. [] leaves Python's own values, 700,
    10, 10."""

    def __post_init__(self) -> None:
        if len(self.gc_thresholds) not in (0, 3) or not all(0 < each < 2**31 for each in self.gc_thresholds):
            raise ValueError("expected process.gc_thresholds to be three numbers from 1 on, such as [700, 10, 1000]")


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 100 * 365 * 86400.0  # excludes typing errors and infinity, which timers and streams refuse


class Duration(float):
    """Seconds, written as a number, or as text such as "300s", "5m", "1h30m"."""

    @classmethod
    def parse(cls, value: object) -> Duration:
        """The duration that `value` stands for. Raises ValueError if there is none, or it is negative or too long."""
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


class Rate:
    """`amount` at once, and that many in every `seconds` in the long run; written "600/10s" or "5/s". No limit: 0, or
    "".

    `parse` reads it. A rate is false if it sets no limit.
    """

    __slots__ = ("amount", "seconds")

    def __init__(self, amount: int = 0, seconds: float = 1.0) -> None:
        self.amount = amount
        self.seconds = seconds

    @classmethod
    def parse(cls, value: object) -> Rate:
        """The rate that `value` stands for. Raises ValueError if there is none."""
        if value in ("", "0") or (type(value) is int and value == 0):
            return cls()
        written = re.fullmatch(r"(\d(?:_?\d){0,14})/(.+)", str(value), re.ASCII)
        if written is not None:
            amount, seconds = written.groups()
            try:
                rate = cls(int(amount), Duration.parse(seconds if seconds[0].isdigit() else f"1{seconds}"))
            except ValueError:
                rate = cls()
            if rate and rate.seconds:
                return rate
        raise ValueError(f'expected a rate such as "600/10s" (600 at once, and 60 a second), or 0, got {value!r}')

    def at_least(self, amount: int) -> Rate:
        """The same rate in the long run, with at least `amount` at once."""
        if not self or self.amount >= amount:
            return self
        return Rate(amount, self.seconds * amount / self.amount)

    def __bool__(self) -> bool:
        return self.amount > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and (self.amount, self.seconds) == (other.amount, other.seconds)

    def __hash__(self) -> int:
        return hash((self.amount, self.seconds))

    def __str__(self) -> str:
        return f"{self.amount}/{float(self.seconds):g}s" if self else "0"

    __repr__ = __str__


def is_http_address(text: str) -> bool:
    """Whether it is an HTTP or HTTPS URL with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:  # not a port, or half an IPv6 address
        return False


def _decode_custom(kind: type, value: object) -> object:
    if kind is Duration or kind is Rate:
        return kind.parse(value)
    raise NotImplementedError(kind)


def _encode_custom(value: object) -> object:
    return float(value) if isinstance(value, Duration) else str(value)


def load(schema: type[T], environ: Mapping[str, str], sections: Set[str]) -> T:
    """Settings of the shape `schema`, a struct whose fields are the sections that the service reads.

    `sections` are the names of all services' sections: any other section is a mistake in every file. Raises
    `ConfigurationError` with every mistake: a file that cannot be read, an unknown section or key, a value of the wrong
    type or out of bounds.
    """
    source, tables = _read_file(environ)
    fields = {field.name: field for field in msgspec.structs.fields(schema)}
    mistakes = [f"{source}: unknown section [{name}]{hint(name, sections)}" for name in tables if name not in sections]
    own: dict[str, Any] = {name: table for name, table in tables.items() if name in fields}
    mistakes += _overlay_variables(schema, own, environ, sections - fields.keys())
    own, unread = with_secrets(schema, own, source, environ)
    mistakes += unread.values()
    made = {}
    for name, field in fields.items():
        if name in own or field.required:  # the section may be absent: then its required keys are reported
            made[name], messages = convert_section(name, own.get(name, {}), field.type, _decode_custom, unread)
            mistakes += [explain(message, schema, source, environ, own) for message in messages]
    if mistakes:
        raise ConfigurationError(*dict.fromkeys(mistakes))
    return schema(**made)


def where_from(schema: type[Any], environ: Mapping[str, str]) -> list[str]:
    """Lines that say where valid settings come from: the file, its sections, the variables. They have no values, as
    some are secret.

    `schema` is the struct whose fields are the sections that the service reads.
    """
    source, tables = _read_file(environ)
    fields = {field.name for field in msgspec.structs.fields(schema)}
    variables = sorted(name for name in environ if name in _variables(schema))
    lines = [f"file: {source}"]
    if tables:
        lines.append("sections: " + (", ".join(sorted(tables.keys() & fields)) or "none that this service reads"))
        if others := sorted(tables.keys() - fields):
            lines.append("sections of other services: " + ", ".join(others))
    return [*lines, "variables: " + (", ".join(variables) or "none")]


def hidden_secrets(schema: type[Any], environ: Mapping[str, str]) -> list[str]:
    """Sentences about the secrets in the file that have no effect, because a variable overrides them."""
    source, tables = _read_file(environ)
    hidden = []
    for name, (section, key, _, other) in _variables(schema).items():
        table = tables.get(section)
        if name not in environ or not isinstance(table, dict):
            continue
        if other and table.get(key) != environ[name]:  # a secret can be given in two ways
            hidden += [
                f"{name} wins over {section}.{each} of {source}, which has no effect: leave one of the two out"
                for each in (key, other)
                if table.get(each)
            ]
    return hidden


def _read_file(environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    try:
        return read_file(environ.get(CONFIG_VARIABLE, ""))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


class _Variable(NamedTuple):
    """The key that a variable sets. `other` is the key that sets the same value the other way, "" if there is none."""

    section: str
    key: str
    kind: Any
    other: str = ""


def _variables(schema: type[Struct]) -> dict[str, _Variable]:
    """The variables by name: for every key that is not a table, and for every file that may hold a secret."""
    known: dict[str, _Variable] = {}
    for section in fields_of(schema):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            for key in fields_of(section.type):
                name, file = key.encode_name, key.encode_name + FILE_SUFFIX
                if is_secret(key.type):
                    known[variable_name(f"{section.name}.{name}")] = _Variable(section.name, name, key.type, file)
                    known[variable_name(f"{section.name}.{file}")] = _Variable(section.name, file, str, name)
                elif not _is_table(key.type):
                    known[variable_name(f"{section.name}.{name}")] = _Variable(section.name, name, key.type)
    return known


def _is_table(kind: Any) -> bool:
    members = [kind, *getattr(kind, "__args__", ())]
    return any(isinstance(member, type) and issubclass(member, Struct) for member in members)


def _overlay_variables(
    schema: type[Struct], own: dict[str, Any], environ: Mapping[str, str], others: Set[str]
) -> list[str]:
    """Writes the variables into the tables `own`, and returns their mistakes. Variables of the sections `others` belong
    to other services."""
    known = _variables(schema)
    foreign = tuple(variable_name(name) + "_" for name in others)
    mistakes: list[str] = []
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or variable.startswith(foreign):
            continue
        if variable not in known:
            mistakes.append(f"environment: unknown variable {variable}{hint(variable, known)}")
            continue
        section, key, kind, other = known[variable]
        table = own.setdefault(section, {})
        if not isinstance(table, dict):  # a mistake, which is found later
            continue
        if other and (twice := variable_name(f"{section}.{other}")) in environ:
            if key.endswith(FILE_SUFFIX):  # the other one reports it, and counts: the key is not missing
                continue
            mistakes.append(f"environment: {variable} and {twice}: expected one of the two")
        if not _is_text(text):
            mistakes.append(f"environment: {variable}: expected text in UTF-8")
            continue
        kept = {name: value for name, value in table.items() if name != other}
        try:
            own[section] = {**kept, key: _read_variable(text, kind)}
        except msgspec.ValidationError as error:
            mistakes.append(f"environment: {variable}: {of_variable(str(error), text)}")
    return mistakes


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that Python could not decode
        return False
    return True


def _read_variable(text: str, kind: Any) -> object:
    """Raises `ValidationError`."""
    value: object = text
    if getattr(kind, "__origin__", None) is list:
        value = [item.strip() for item in text.split(",") if item.strip()]
    read = msgspec.convert(value, kind, strict=False, dec_hook=_decode_custom)
    return msgspec.to_builtins(read, enc_hook=_encode_custom)
