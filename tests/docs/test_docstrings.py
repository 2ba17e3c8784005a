"""Names that docstrings of `fairlead`, `proto` and `services` quote exist: modules, classes, their members, files."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("fairlead", "proto", "services")
MODULES = {path: ast.parse(path.read_text()) for top in OURS for path in (ROOT / top).rglob("*.py")}
IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
FILE = re.compile(r"\w[\w./-]*\.(py|md|json|proto)|\w[\w-]*(/[\w-]+)+/?")
OF_OTHERS = {"FAIRLEAD_EDGE_PORT", "FAIRLEAD_CONFIG", "fairlead.toml", "prot"}  # made of parts, or made up


def docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of the module, its classes and functions, and those below attributes and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def members(node: ast.AST) -> set[str]:
    """The names that are defined or assigned in a class."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            found.add(inner.attr)
    return found


@cache
def owners() -> dict[str, set[str]]:
    """The members of each class, by its name; classes of the same name are merged."""
    classes = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found: dict[str, set[str]] = {}
    for node in classes:
        found.setdefault(node.name, set()).update(members(node))
    for node in classes:
        found[node.name].update(*(found.get(ast.unparse(base), ()) for base in node.bases))
    return found


@cache
def words() -> set[str]:
    """Every identifier in the code, and every string of it that is not prose."""
    found = set(dir(builtins)) | set(keyword.kwlist) | set(sys.stdlib_module_names)
    found |= {path.parent.name if path.stem == "__init__" else path.stem for path in MODULES}
    for tree in MODULES.values():
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            for name in ("id", "attr", "arg", "name", "asname"):
                if isinstance(word := getattr(node, name, None), str):
                    found.update([word, *word.split(".")])
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                found.update([node.value, *re.findall(r"\w+", node.value)])
    return found


def exists(name: str, beside: Path) -> bool:
    if FILE.fullmatch(name):
        return any((folder / name).exists() for folder in (ROOT, *beside.parents) if folder.is_relative_to(ROOT))
    if not IDENTIFIER.fullmatch(name) or name in OF_OTHERS or name in words():
        return True
    first, *rest = name.removesuffix("()").split(".")
    if not rest:
        return first in words() or first.endswith("_")
    if first in OURS:
        path, parent = "/".join((first, *rest)), "/".join((first, *rest[:-1]))
        return path in files() or (parent in files() and rest[-1] in words())
    if first[0].isupper():
        return rest[0] in owners().get(first, ())
    return {first, rest[-1]} <= words() or importlib.util.find_spec(first) is not None  # also `section.key`


@cache
def files() -> set[str]:
    return {path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__") for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_in_a_docstring_exist(path):
    named = {name for text in docstrings(MODULES[path]) for name in re.findall(r"`([^`\n]+)`", text)}
    assert sorted(name for name in named if not exists(name, path)) == []
