"""Tags filters: which trees are taken, and what they mean, against a plain reading of the protocol's rules."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pytest
from centrifuge.filter import Filter
from hypothesis import given, settings
from hypothesis import strategies as st

from proto.messages import FilterNode
from services.edge.channels.tags_filter import (
    MAX_DEPTH,
    MAX_NODES,
    MAX_NUMBER_CHARS,
    MAX_SOUGHT_CHARS,
    MAX_TEXT_BYTES,
    MAX_VALUES,
    BadFilter,
    compile_filter,
)

FEW = settings(max_examples=200, deadline=None)
TAGS = {"ticker": "AAPL", "price": "187.50", "source": "NASDAQ", "empty": "", "": "unnamed"}

ONE_VALUE = ["eq", "neq", "sw", "ew", "ct", "gt", "gte", "lt", "lte"]
keys = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["a", "ab", "b", "1", "1.0", "-2", "10", "x1"]) | st.text(min_size=1, max_size=4)
tag_maps = st.dictionaries(keys, texts | st.just(""), max_size=3)

leaves = st.one_of(
    st.builds(FilterNode, key=keys, cmp=st.sampled_from(ONE_VALUE), val=texts),
    st.builds(FilterNode, key=keys, cmp=st.sampled_from(["in", "nin"]), vals=st.lists(texts, min_size=1, max_size=3)),
    st.builds(FilterNode, key=keys, cmp=st.sampled_from(["ex", "nex"])),
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.builds(FilterNode, op=st.sampled_from(["and", "or"]), nodes=st.lists(inner, min_size=1, max_size=3))
        | st.builds(FilterNode, op=st.just("not"), nodes=st.lists(inner, min_size=1, max_size=1))
    ),
    max_leaves=10,
)
any_trees = st.recursive(
    st.builds(
        FilterNode,
        op=st.sampled_from(["", "", "and", "or", "not", "xor"]),
        key=st.sampled_from(["", "a"]),
        cmp=st.sampled_from([*ONE_VALUE, "in", "nin", "ex", "nex", "", "re"]),
        val=st.sampled_from(["", "", "1", "NaN", "1e999999999", "\ud800"]),
        vals=st.lists(texts, max_size=2),
    ),
    lambda inner: st.builds(
        FilterNode, op=st.sampled_from(["and", "or", "not", ""]), nodes=st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)


def not_(node: FilterNode) -> FilterNode:
    return FilterNode(op="not", nodes=[node])


def leaf(key: str, cmp: str, val: str = "", *vals: str) -> FilterNode:
    return FilterNode(key=key, cmp=cmp, val=val, vals=list(vals))


def matches(node: FilterNode, tags: Mapping[str, str] = TAGS) -> bool:
    return compile_filter(node)(tags)


def as_decimal(text: str) -> Decimal | None:
    plain = text.removeprefix("-").replace(".", "", 1)
    try:
        return Decimal(text) if plain.isascii() and plain.isdigit() and text[-1] != "." else None
    except InvalidOperation:
        return None


def meaning(node: FilterNode, tags: Mapping[str, str]) -> bool:
    """The rules, read one by one."""
    if node.op == "and":
        return all(meaning(child, tags) for child in node.nodes)
    if node.op == "or":
        return any(meaning(child, tags) for child in node.nodes)
    if node.op == "not":
        return not meaning(node.nodes[0], tags)
    if node.key not in tags:
        return node.cmp in ("neq", "nin", "nex")
    tag, val = tags[node.key], node.val
    if node.cmp in ("gt", "gte", "lt", "lte"):
        left, right = as_decimal(tag), as_decimal(val)
        if left is None or right is None:
            return False
        return {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[node.cmp]
    return {
        "eq": tag == val,
        "neq": tag != val,
        "in": tag in node.vals,
        "nin": tag not in node.vals,
        "ex": True,
        "nex": False,
        "sw": tag.startswith(val),
        "ew": tag.endswith(val),
        "ct": val in tag,
    }[node.cmp]


@FEW
@given(trees, tag_maps)
def test_a_filter_means_what_the_rules_say(node: FilterNode, tags: dict[str, str]) -> None:
    assert matches(node, tags) is meaning(node, tags)


@FEW
@given(any_trees, st.dictionaries(st.text(max_size=3) | keys, st.text(max_size=5) | texts, max_size=4))
def test_any_tree_is_compiled_or_refused(node: FilterNode, tags: dict[str, str]) -> None:
    try:
        wanted = compile_filter(node)
    except BadFilter:
        return
    assert type(wanted(tags)) is bool


@FEW
@given(st.lists(trees, min_size=1, max_size=3), tag_maps)
def test_not_turns_and_into_or(nodes: list[FilterNode], tags: dict[str, str]) -> None:
    negated = [not_(node) for node in nodes]
    assert matches(not_(FilterNode(op="and", nodes=nodes)), tags) is matches(FilterNode(op="or", nodes=negated), tags)
    assert matches(not_(FilterNode(op="or", nodes=nodes)), tags) is matches(FilterNode(op="and", nodes=negated), tags)
    assert matches(not_(not_(nodes[0])), tags) is matches(nodes[0], tags)


@FEW
@given(keys, texts, tag_maps)
def test_a_comparison_and_its_opposite(key: str, val: str, tags: dict[str, str]) -> None:
    for one, other in (("eq", "neq"), ("ex", "nex"), ("in", "nin")):
        first, second = (
            FilterNode(
                key=key,
                cmp=cmp,
                val=val if cmp in ("eq", "neq") else "",
                vals=[val] if cmp in ("in", "nin") else [],
            )
            for cmp in (one, other)
        )
        assert matches(first, tags) is not matches(second, tags)


@pytest.mark.parametrize(
    "built, matching",
    [
        (Filter.eq("ticker", "AAPL"), True),
        (Filter.neq("ticker", "AAPL"), False),
        (Filter.is_in("source", ["NASDAQ", "NYSE"]), True),
        (Filter.not_in("source", ["NASDAQ", "NYSE"]), False),
        (Filter.exists("empty"), True),
        (Filter.exists(""), True),
        (Filter.not_exists("ticker"), False),
        (Filter.starts_with("ticker", "AA"), True),
        (Filter.ends_with("ticker", "PL"), True),
        (Filter.contains("ticker", "AP"), True),
        (Filter.gt("price", "187.5"), False),
        (Filter.gte("price", "187.5"), True),
        (Filter.lt("price", "1000"), True),
        (Filter.lte("price", "9"), False),
        (Filter.all(Filter.eq("ticker", "AAPL"), Filter.gte("price", "100")), True),
        (Filter.any(Filter.eq("ticker", "MSFT"), Filter.lt("price", "100")), False),
        (Filter.negate(Filter.eq("source", "NYSE")), True),
    ],
    ids=lambda value: str(value.node) if hasattr(value, "node") else "",
)
def test_what_the_stock_client_builds(built: Any, matching: bool) -> None:
    assert matches(msgspec.convert(built.node, FilterNode)) is matching


@pytest.mark.parametrize("cmp", [*ONE_VALUE, "in", "nin", "ex", "nex"])
def test_a_missing_tag_is_unequal_and_in_no_set(cmp: str) -> None:
    val, vals = ("1", []) if cmp in ONE_VALUE else ("", ["1", ""]) if cmp in ("in", "nin") else ("", [])
    node = FilterNode(key="missing", cmp=cmp, val=val, vals=vals)
    assert matches(node) is (cmp in ("neq", "nin", "nex"))
    assert matches(node, {}) is (cmp in ("neq", "nin", "nex"))


@pytest.mark.parametrize(
    "small, large",
    [
        ("9", "10"),
        ("-10", "-9"),
        ("0.1", "0.10000000000000000000000000000000000000000001"),
        ("9007199254740992", "9007199254740993"),
        ("-1", "+1"),
        ("9" * (MAX_NUMBER_CHARS - 1), "1" + "0" * (MAX_NUMBER_CHARS - 1)),
    ],
)
def test_numbers_are_compared_exactly(small: str, large: str) -> None:
    outcomes = {cmp: matches(leaf("n", cmp, large), {"n": small}) for cmp in ("gt", "gte", "lt", "lte")}
    assert outcomes == {"gt": False, "gte": False, "lt": True, "lte": True}
    outcomes = {cmp: matches(leaf("n", cmp, small), {"n": large}) for cmp in ("gt", "gte", "lt", "lte")}
    assert outcomes == {"gt": True, "gte": True, "lt": False, "lte": False}


def test_equal_numbers_may_be_spelled_differently() -> None:
    outcomes = {cmp: matches(leaf("n", cmp, "1.50"), {"n": "+01.5"}) for cmp in ("gt", "gte", "lt", "lte")}
    assert outcomes == {"gt": False, "gte": True, "lt": False, "lte": True}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "NaN",
            "sNaN",
            "Infinity",
            "-inf",
            "1e3",
            "1e999999999",
            "1_000",
            " 1",
            "1\n",
            "1.",
            ".5",
            "٣",
            "--1",
        ),
        *("1" * (MAX_NUMBER_CHARS + 1), "0." + "0" * 100_000),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_nothing_compares_with_what_is_no_number(text: str) -> None:
    for cmp in ("gt", "gte", "lt", "lte"):
        assert matches(leaf("n", cmp, "0"), {"n": text}) is False
        if 0 < len(text) <= MAX_TEXT_BYTES - 1:
            assert matches(leaf("n", cmp, text), {"n": "0"}) is False


@pytest.mark.parametrize(
    "node",
    [
        FilterNode(),
        FilterNode(key="a", val="1"),
        FilterNode(key="a", cmp="re", val="1"),
        FilterNode(op="xor", nodes=[leaf("a", "ex")]),
        FilterNode(op="and"),
        FilterNode(op="or"),
        FilterNode(op="not"),
        FilterNode(op="not", nodes=[leaf("a", "ex"), leaf("a", "ex")]),
        FilterNode(op="or", nodes=[leaf("a", "ex"), leaf("a", "eq")]),
        FilterNode(key="a", cmp="ex", nodes=[leaf("a", "ex")]),
        leaf("a", "ex", "1"),
        leaf("a", "nex", "", "1"),
        leaf("a", "in"),
        leaf("a", "nin"),
        leaf("a", "in", "1", "2"),
        *(leaf("a", cmp) for cmp in ONE_VALUE),
        *(leaf("a", cmp, "1", "2") for cmp in ONE_VALUE),
        *(leaf("", cmp, "1") for cmp in ONE_VALUE),
        leaf("", "in", "", "1"),
    ],
    ids=str,
)
def test_a_tree_that_is_no_filter_is_refused(node: FilterNode) -> None:
    with pytest.raises(BadFilter):
        compile_filter(node)


def chain(depth: int) -> FilterNode:
    node = leaf("ticker", "ex")
    for _ in range(depth - 1):
        node = not_(node)
    return node


def wide(nodes: int) -> FilterNode:
    return FilterNode(op="or", nodes=[leaf("ticker", "ex")] * (nodes - 1))


def with_values(count: int) -> FilterNode:
    sets = [
        leaf("a", "in", "", *map(str, range(count // 2))),
        leaf("a", "in", "", *map(str, range(count - count // 2))),
    ]
    return FilterNode(op="and", nodes=sets)


def with_text(size: int) -> FilterNode:
    return FilterNode(op="and", nodes=[leaf("ä", "eq", "x" * (size // 2 - 2)), leaf("b", "eq", "x" * (size // 2 - 1))])


def with_searches(size: int) -> FilterNode:
    return FilterNode(op="or", nodes=[leaf("a", "ct", "x" * (size // 2)), leaf("b", "ct", "x" * (size - size // 2))])


@pytest.mark.parametrize(
    "tree, bound",
    [
        (chain, MAX_DEPTH),
        (wide, MAX_NODES),
        (with_values, MAX_VALUES),
        (with_text, MAX_TEXT_BYTES),
        (with_searches, MAX_SOUGHT_CHARS),
    ],
)
def test_a_tree_may_be_as_large_as_its_bounds(tree: Any, bound: int) -> None:
    compile_filter(tree(bound))
    with pytest.raises(BadFilter):
        compile_filter(tree(bound + 2))


def test_a_tree_of_any_depth_is_refused_and_not_walked() -> None:
    with pytest.raises(BadFilter):
        compile_filter(chain(100_000))
