"""The structure of the code: no import cycles, no forgotten case, no class that does everything, one writer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.support.source_tree import MODULES, imports_of, module_name, name_of, nodes_of, walk
from tests.support.written_attributes import Class, writers

MAX_PUBLIC_METHODS = 15
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_imports_go_in_a_circle() -> None:
    """Imports for types only count too: to understand one file of a cycle you have to read all of them."""
    ours = {module_name(path): path for path in MODULES}
    TopologicalSorter({name: imports_of(path) & set(ours) - {name} for name, path in ours.items()}).prepare()


def test_nothing_is_imported_for_types_only() -> None:
    assert [name_of(path) for path in MODULES if "typing.TYPE_CHECKING" in imports_of(path)] == []


def is_forgotten_case_noticed(match: ast.Match, function: Function) -> bool:
    """Whether mypy reports it when the union that is matched gets another member; of pairs, whether it is an error."""
    last = match.cases[-1]
    if isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None:
        is_error = isinstance(match.subject, ast.Tuple) and isinstance(last.body[-1], ast.Raise)
        return is_error or ast.unparse(last.body[-1]).startswith("assert_never(")
    all_return = all(isinstance(case.body[-1], ast.Return | ast.Raise) for case in match.cases)
    gives_something = function.returns is not None and ast.unparse(function.returns) != "None"
    return all_return and gives_something and function.body[-1] is match  # mypy: missing return statement


def dispatches(path: Path) -> Iterator[tuple[ast.Match, Function]]:
    """Every `match` by class, with its function."""
    if not any(isinstance(node, ast.MatchClass) for node in nodes_of(path)):
        return
    for function in nodes_of(path):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in walk(function):
                if isinstance(node, ast.Match) and any(
                    isinstance(pattern, ast.MatchClass) for case in node.cases for pattern in walk(case.pattern)
                ):
                    yield node, function


def test_a_case_that_is_forgotten_is_noticed() -> None:
    silent = [
        f"{name_of(path)}:{match.lineno}"
        for path in MODULES
        for match, function in dispatches(path)
        if not is_forgotten_case_noticed(match, function)
    ]
    assert silent == [], "end it with: case _: assert_never(...)"


def test_no_class_of_the_edge_does_everything() -> None:
    public = {
        f"{name_of(path)}: {node.name}": sum(
            isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_")
            for inner in node.body
        )
        for path in MODULES
        if name_of(path).startswith("services/edge/")
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef)
    }
    assert {name: count for name, count in public.items() if count > MAX_PUBLIC_METHODS} == {}


def test_an_attribute_has_one_writer() -> None:
    """The module of its class, or one other that its class leaves it to. Aside: rows of tables, which are values, and
    the working set of the folds, which is theirs."""
    several = {
        f"{own.module}.{own.name}.{name}": sorted(modules)
        for (own, name), modules in writers().items()
        if len(modules) > 1 and own.module not in {"services.sessions.rows", "services.sessions.state"}
    }
    assert several == {}


def test_writers_are_found() -> None:
    """Otherwise the rule above would hold of anything."""
    assert writers()[Class("services.edge.channels.channel", "Channel"), "users"]
