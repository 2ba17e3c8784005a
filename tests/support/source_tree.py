"""The source as syntax: the modules, their imports, and their prose."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for top in ("fairlead", "proto", "services") for path in (ROOT / top).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    gc.disable()  # no node is garbage: looking for some takes three times as long as the parsing
    try:
        return ast.parse(text_of(path))
    finally:
        gc.enable()


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(walk(tree_of(path)))


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """`ast.walk`, in half its time."""
    nodes = [tree]
    for node in nodes:  # which grows meanwhile
        yield node
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                nodes.extend([each for each in value if isinstance(each, ast.AST)])
            elif isinstance(value, ast.AST):
                nodes.append(value)


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The imports anywhere in a file, also those for types only; of `from a import b` both a and a.b."""
    found: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def is_imported(module: str, files: Iterable[Path]) -> bool:
    """Whether one of the files imports it. Only those that name it and its package are parsed."""
    package, _, name = module.rpartition(".")
    return any(module in imports_of(path) for path in files if name in (text := text_of(path)) and package in text)


def texts(path: Path) -> Iterator[str]:
    """Every string in the code, docstrings aside."""
    prose = {id(node.value) for node in nodes_of(path) if isinstance(node, ast.Expr)}
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and id(node) not in prose:
            if isinstance(node.value, str):
                yield node.value
            elif isinstance(node.value, bytes):
                yield node.value.decode("latin-1")
