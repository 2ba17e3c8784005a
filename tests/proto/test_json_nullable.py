"""The twin of a type takes null in every field; and payloads are found without a look at anything else."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec
import pytest
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from proto.json_nullable import PayloadFields, nullable
from proto.messages import NO_DATA

T = TypeVar("T")


class Node(Struct, frozen=True):
    name: str = "x"
    nodes: list[Node] = []


class Tree(Struct, frozen=True, rename="camel"):
    id: Annotated[int, Meta(ge=1)]
    root_node: Node | None = None
    own_data: Raw | UnsetType = UNSET
    trees: dict[str, Tree] = {}


class Answer(Struct, Generic[T], frozen=True, forbid_unknown_fields=True):
    result: T | None = None


class Joined(Struct, frozen=True, tag_field="event", tag="joined"):
    info: Raw = NO_DATA


class Left(Struct, frozen=True, tag_field="event", tag="left"):
    client: str = ""


@pytest.mark.parametrize(
    ("kind", "text", "left"),
    [
        (Node, b'{"name":null,"nodes":[{"name":"a","nodes":null}]}', b'{"nodes":[{"name":"a"}]}'),
        (Tree, b'{"id":null,"rootNode":null,"trees":{"a":{"id":2}}}', b'{"trees":{"a":{"id":2}}}'),
        (Answer[Tree], b'{"result":{"id":1,"rootNode":{"name":null}}}', b'{"result":{"id":1,"rootNode":{}}}'),
        (Joined | Left, b'{"event":"left","client":null}', b'{"event":"left"}'),
        (dict[str, Node], b'{"a":{"name":null}}', b'{"a":{}}'),
    ],
)
def test_fields_that_are_null_are_left_out(kind: Any, text: bytes, left: bytes) -> None:
    assert msgspec.json.encode(msgspec.json.decode(text, type=nullable(kind))) == left


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Node, b'{"nodes":[null]}'),
        (Tree, b'{"trees":{"a":null}}'),
        (Answer[Tree], b'{"unknown":1}'),
        (Tree, b'{"id":0}'),
        (Joined | Left, b'{"client":null}'),
    ],
)
def test_what_is_wrong_otherwise_stays_so(kind: Any, text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=nullable(kind))


def test_payloads_are_found_and_changed_wherever_they_are() -> None:
    text = b'{"id":1,"ownData":null,"trees":{"a":{"id":2,"ownData":{"b":1}}}}'
    twin = nullable(Tree)
    value = msgspec.json.decode(text, type=twin)
    changed = PayloadFields(twin).change(value, lambda raw: None if bytes(raw) == b"null" else Raw(b"7"))
    assert msgspec.json.encode(changed) == b'{"id":1,"trees":{"a":{"id":2,"ownData":7}}}'
    assert PayloadFields(Tree).has_null(msgspec.json.decode(text, type=Tree))
    assert not PayloadFields(Tree).has_null(msgspec.json.decode(text.replace(b"null", b"[null]"), type=Tree))
