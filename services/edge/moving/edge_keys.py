"""Which keys the configuration of an edge has, and their types."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import fields

from services.edge.channel_settings import Namespace
from services.edge.settings import EdgeSettings

NAMESPACE: Final = "namespace"
BACKEND: Final = "backend"
BACKENDS: Final = "backends"


def kind_of(key: str) -> Any:
    """The type of a key such as "edge.port", "namespace.presence" or "backend.url"; None if there is no such key."""
    section, _, name = key.partition(".")
    if section == NAMESPACE:
        return _field(Namespace, name)
    if section == BACKEND:
        return _field(_item(_field(EdgeSettings, BACKENDS)), name)
    return _field(_field(EdgeSettings, section), name)


def _field(schema: Any, name: str) -> Any:
    if not (isinstance(schema, type) and issubclass(schema, Struct)):
        return None
    return next((field.type for field in fields(schema) if field.encode_name == name), None)


def _item(kind: Any) -> Any:
    """The type of the tables in a list of the type `kind`."""
    return next(iter(getattr(kind, "__args__", ())), None)
