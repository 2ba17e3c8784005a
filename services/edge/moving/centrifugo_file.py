"""Reads a configuration of Centrifugo 6, in JSON, YAML or TOML, as a list of options."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from services.chassis.process.configured_files import read_configured

MAX_BYTES: Final = 4 * 1024**2
"""The largest file. A file with every option has 40 KiB."""
MAX_OPTIONS: Final = 20_000
"""The most options in one file, including those that YAML's aliases repeat."""
MAX_DEPTH: Final = 20

WITHOUT_NAMESPACE: Final = ""
"""The owner of options of channels whose name has no namespace."""

_RPC: Final = "rpc"
_OF_LISTS: Final = {
    "channel.namespaces": "namespace",
    "proxies": "proxy",
    f"{_RPC}.namespaces": "rpc_namespace",
    "consumers": "consumers",
}
"""Lists of tables that have names; and the word that stands for one of these tables in the table of options."""
_WITHOUT: Final = {"channel.without_namespace": "namespace", f"{_RPC}.without_namespace": "rpc_namespace"}
_VALUES: Final = ("static_headers", "static_metadata", "channel_replacements")
"""Tables that are the value of one option."""
PLACES: Final = {
    "connect": "client.proxy.connect",
    "refresh": "client.proxy.refresh",
    "subscribe": "channel.proxy.subscribe",
    "publish": "channel.proxy.publish",
    "sub_refresh": "channel.proxy.sub_refresh",
    _RPC: f"{_RPC}.proxy",
}
"""The tables of proxies that have a fixed place and no name, by the event about which they are asked."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the file.

    `path` says where it stands: "channel.namespaces[chat].presence". `name` is its path in the table of options:
    "namespace.presence". `owner` is the namespace, the consumer or the named proxy that it belongs to.
    """

    path: str
    name: str
    value: Any
    owner: str = ""


def read_options(path: Path) -> list[Option]:
    """The options of a file. Raises ValueError, which says what is wrong with it."""
    try:
        data = read_configured(path, MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes")
    content = _parsed(path, data)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a table of options")
    options: list[Option] = []
    for option in _options(content):
        options.append(option)
        if len(options) > MAX_OPTIONS:
            raise ValueError(f"{path}: expected at most {MAX_OPTIONS} options")
    return options


def _parsed(path: Path, data: bytes) -> Any:
    kind = path.suffix.lower()
    try:
        if kind == ".json":
            return msgspec.json.decode(data)
        if kind in (".yaml", ".yml"):
            return _parsed_yaml(data.decode())
        if kind == ".toml":
            return tomllib.loads(data.decode())
    except ImportError:
        raise ValueError(
            f"{path} cannot be read here, as PyYAML is not installed: pip install pyyaml, or convert the file to JSON, "
            "for example by yq -o json"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not {kind[1:].upper()}: {error}") from None
    raise ValueError(f"{path}: expected a name that ends in .json, .yaml, .yml or .toml")


def _parsed_yaml(text: str) -> Any:
    import yaml  # a dependency of the extra `local`, which images do not have

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _options(content: Mapping[Any, Any]) -> Iterator[Option]:
    for path, value in _leaves("", content, 0):
        yield _placed(path, value)


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Every option with its path. Names are in lower case, as Centrifugo does not tell cases apart."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{path}: nests too deep")
    if path in _OF_LISTS and isinstance(value, list):
        for number, entry in enumerate(value):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not name:
                raise ValueError(f"{path}[{number}]: expected a table with a name")
            yield from _leaves(f"{path}[{name}]", entry, depth + 1)
    elif isinstance(value, dict) and path.rpartition(".")[2] not in _VALUES:
        for key, each in value.items():
            key = str(key).lower()
            yield from _leaves(f"{path}.{key}" if path else key, each, depth + 1)
    elif value is not None:  # null is the same as an option that is left out
        yield path, value


def _placed(path: str, value: Any) -> Option:
    for list_, name in _OF_LISTS.items():
        if path.startswith(f"{list_}["):
            owner, _, rest = path[len(list_) + 1 :].partition("].")
            return Option(path, f"{name}.{rest}", value, owner)
    for table, name in _WITHOUT.items():
        if path.startswith(f"{table}."):
            return Option(path, name + path.removeprefix(table), value, WITHOUT_NAMESPACE)
    for table in PLACES.values():
        if path.startswith(f"{table}.") and path != f"{table}.enabled":
            return Option(path, "proxy" + path.removeprefix(table), value)
    return Option(path, path, value)
