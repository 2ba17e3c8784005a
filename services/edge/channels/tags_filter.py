"""Compiles filters over the tags of publications: from a tree that a client sent to a function. Pure.

A leaf compares one tag; "and", "or" and "not" combine nodes. A missing tag is unequal to everything and in no set, and
matches no other comparison. `gt`, `gte`, `lt`, `lte` compare decimal numbers of any length exactly; a tag that is not a
number in plain digits matches none of them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

from proto.messages import FilterNode

TagsFilter = Callable[[Mapping[str, str]], bool]
"""Whether a publication with these tags is wanted. Without tags, it gets an empty mapping. Never raises."""

MAX_DEPTH: Final = 16
"""Levels of a tree. Each level is a nested call, for every publication."""

MAX_NODES: Final = 64
"""Nodes of a tree. All of them may have to be evaluated, for each publication and subscriber."""

MAX_VALUES: Final = 256
"""Members of all sets of a tree, for the sake of memory: a lookup costs the same whatever their number."""

MAX_TEXT_BYTES: Final = 16 * 1024
"""Keys and values of a tree together. They stay in memory as long as the subscription."""

MAX_SOUGHT_CHARS: Final = 512
"""Values of all `ct` of a tree together. Looking for one in a tag may take the product of their lengths."""

MAX_NUMBER_CHARS: Final = 200
"""Longer text does not count as a number, since parsing one takes more than linear time."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")  # no NaN, and no exponent: 1e999999999 has only eleven characters

_ORDERS: Final[dict[str, Callable[[Decimal, Decimal], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
# `val` is not empty, so that a missing tag can be told from an empty one.
_TEXTS: Final[dict[str, Callable[[str, str], TagsFilter]]] = {
    "eq": lambda key, val: lambda tags: tags.get(key) == val,
    "neq": lambda key, val: lambda tags: tags.get(key) != val,
    "sw": lambda key, val: lambda tags: tags.get(key, "").startswith(val),
    "ew": lambda key, val: lambda tags: tags.get(key, "").endswith(val),
    "ct": lambda key, val: lambda tags: val in tags.get(key, ""),
}


class BadFilter(ValueError):
    """The tree is not a filter, or exceeds a bound. The text says what is wrong, for the log."""


class _Room:
    """How much the bounds leave for the rest of a tree."""

    def __init__(self) -> None:
        self.nodes = MAX_NODES
        self.values = MAX_VALUES
        self.text_bytes = MAX_TEXT_BYTES
        self.sought_chars = MAX_SOUGHT_CHARS

    def take(self, node: FilterNode) -> None:
        self.nodes -= 1
        self.values -= len(node.vals)
        if self.nodes < 0 or self.values < 0:
            raise BadFilter(f"more than {MAX_NODES} nodes or {MAX_VALUES} vals")
        self.text_bytes -= sum(len(text.encode(errors="replace")) for text in (node.key, node.val, *node.vals))
        if self.text_bytes < 0:
            raise BadFilter(f"more than {MAX_TEXT_BYTES} bytes of keys and values")
        if node.cmp == "ct":
            self.sought_chars -= len(node.val)
            if self.sought_chars < 0:
                raise BadFilter(f"more than {MAX_SOUGHT_CHARS} characters in the vals of ct")


def compile_filter(node: FilterNode) -> TagsFilter:
    """The filter that the tree describes. Raises `BadFilter`."""
    return _compile(node, _Room(), 1)


def _compile(node: FilterNode, room: _Room, depth: int) -> TagsFilter:
    if depth > MAX_DEPTH:
        raise BadFilter(f"deeper than {MAX_DEPTH} levels")
    room.take(node)
    if not node.op:
        return _leaf(node)
    if node.op in ("and", "or"):
        if not node.nodes:
            raise BadFilter(f"{node.op} needs at least one node")
        parts = tuple(_compile(child, room, depth + 1) for child in node.nodes)
        if len(parts) == 1:
            return parts[0]
        return _every(parts) if node.op == "and" else _any(parts)
    if node.op == "not":
        if len(node.nodes) != 1:
            raise BadFilter("not needs exactly one node")
        return _negation(_compile(node.nodes[0], room, depth + 1))
    raise BadFilter("an unknown op")


def _leaf(node: FilterNode) -> TagsFilter:
    key, cmp, val = node.key, node.cmp, node.val
    if node.nodes:
        raise BadFilter("a comparison has no nodes")
    if cmp in ("ex", "nex"):  # these alone may name the tag "", as on Centrifugo
        if val or node.vals:
            raise BadFilter(f"{cmp} takes no val and no vals")
        return _presence(key, cmp == "ex")
    if not key:
        raise BadFilter("a comparison needs a key")
    if cmp in ("in", "nin"):
        if val or not node.vals:
            raise BadFilter(f"{cmp} takes vals, at least one, and no val")
        return _membership(key, frozenset(node.vals), cmp == "in")
    if cmp not in _ORDERS and cmp not in _TEXTS:
        raise BadFilter("an unknown cmp" if cmp else "a comparison needs a cmp")
    if not val or node.vals:
        raise BadFilter(f"{cmp} takes a val that is not empty, and no vals")
    if cmp in _ORDERS:
        return _order(key, _ORDERS[cmp], _number(val))
    return _TEXTS[cmp](key, val)


# --- the functions. Each is made once and called for every publication, so the closures contain no decisions ----------


def _every(parts: tuple[TagsFilter, ...]) -> TagsFilter:
    def matches(tags: Mapping[str, str]) -> bool:
        for part in parts:  # noqa: SIM110 - all() over a generator takes half as long again
            if not part(tags):
                return False
        return True

    return matches


def _any(parts: tuple[TagsFilter, ...]) -> TagsFilter:
    def matches(tags: Mapping[str, str]) -> bool:
        for part in parts:  # noqa: SIM110
            if part(tags):
                return True
        return False

    return matches


def _negation(part: TagsFilter) -> TagsFilter:
    return lambda tags: not part(tags)


def _presence(key: str, wanted: bool) -> TagsFilter:
    return lambda tags: (key in tags) is wanted


def _membership(key: str, members: frozenset[str], wanted: bool) -> TagsFilter:
    return lambda tags: (tags.get(key) in members) is wanted  # None, of a missing tag, is not a member


def _order(key: str, order: Callable[[Decimal, Decimal], bool], bound: Decimal | None) -> TagsFilter:
    if bound is None:
        return lambda tags: False

    def matches(tags: Mapping[str, str]) -> bool:
        tag = tags.get(key)
        number = None if tag is None else _number(tag)
        return number is not None and order(number, bound)

    return matches


def _number(text: str) -> Decimal | None:
    """None for text that is not a number."""
    return _parsed(text) if len(text) <= MAX_NUMBER_CHARS else None


@lru_cache(maxsize=256)  # a publication's tag is read once, not once for each subscriber
def _parsed(text: str) -> Decimal | None:
    """The constructor is exact: the context's precision is for arithmetic only."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None
