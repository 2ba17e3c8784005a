"""The tables of a configuration, as its settings describe them."""

from __future__ import annotations

from typing import Any

import msgspec


def tables_of(schema: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The type of each section by name; of a list of tables, such as `backends`, that of one of them."""
    return {field.encode_name: _one(field.type) for field in msgspec.structs.fields(schema)}


def _one(kind: Any) -> type[msgspec.Struct]:
    found: type[msgspec.Struct] = kind.__args__[0] if getattr(kind, "__origin__", None) is list else kind
    return found
