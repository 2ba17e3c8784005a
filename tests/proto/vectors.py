"""Golden vectors as messages: reads `proto/vectors`, and builds structs from the objects in it without our decoder."""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from msgspec import UNSET, Raw, Struct
from msgspec.structs import asdict

import proto
from proto.messages import ClientInfo, Publication

FOLDER = Path(proto.__file__).parent / "vectors"

S = TypeVar("S", bound=Struct)


def load(file: str, section: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((FOLDER / file).read_text(encoding="utf-8"))[section]
    return cases


def name_of(case: dict[str, Any]) -> str:
    return str(case["name"])


def wire_bytes(case: dict[str, Any], key: str) -> bytes:
    return bytes.fromhex(case[f"{key}_hex"]) if f"{key}_hex" in case else str(case[key]).encode()


def build(kind: type[S], fields: dict[str, Any]) -> S:
    """The struct `kind` with these fields, the others at their defaults."""
    return typing.cast(S, _value(kind, fields))


def _value(kind: Any, value: Any) -> Any:
    if kind is Raw:
        return Raw(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _value(args[0], value)
    if origin in (typing.Union, types.UnionType):
        return _member(args, value)
    if origin is list:
        return [_value(args[0], item) for item in value]
    if origin is dict:
        return {key: _value(args[1], item) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(
            **{
                key.removesuffix("_hex"): Raw(bytes.fromhex(item)) if key.endswith("_hex") else _value(hints[key], item)
                for key, item in value.items()
                if key != "type" or "type" in hints
            }
        )
    return value


def _member(members: tuple[Any, ...], value: Any) -> Any:
    structs = [m for m in members if isinstance(m, type) and issubclass(m, Struct)]
    if isinstance(value, dict) and structs:
        tagged = {m.__struct_config__.tag: m for m in structs}
        return _value(tagged[value["type"]] if None not in tagged else structs[0], value)
    return value


def as_protobuf_tells(message: S) -> S:
    """The message without the differences that proto3 drops: empty or no user and client, empty or no map."""
    return typing.cast(S, _told(message))


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_told, value))
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items()}
    if not isinstance(value, Struct):
        return value
    fields = _told(asdict(value))
    if isinstance(value, ClientInfo):
        fields |= {name: fields[name] or UNSET for name in ("user", "client")}
    if isinstance(value, Publication):
        fields["tags"] = fields["tags"] or None
    return type(value)(**fields)
