"""Which modules write which attributes of which classes, as far as annotations tell. Unknown classes are left out.

The class of a name is that of its parameter's annotation or of the constructor that it was assigned from; the class of
an attribute that of its annotation, of a property's result, or of what `__init__` assigned to it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.source_tree import MODULES, module_name, nodes_of, tree_of, walk


class Class(NamedTuple):
    module: str
    name: str


Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = dict[str, Class]  # the classes that the names of a module mean


@cache
def classes_of(path: Path) -> dict[Class, ast.ClassDef]:
    module = module_name(path)
    return {Class(module, node.name): node for node in tree_of(path).body if isinstance(node, ast.ClassDef)}


@cache
def classes() -> frozenset[Class]:
    return frozenset(name for path in MODULES for name in classes_of(path))


@cache
def scope_of(path: Path) -> Scope:
    found = {own.name: own for own in classes_of(path)}
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.asname or alias.name: Class(node.module, alias.name) for alias in node.names}
            found |= {name: meant for name, meant in names.items() if meant in classes()}
    return found


def annotated(annotation: ast.expr | None, scope: Scope) -> Class | None:
    """The one class of ours that an annotation names, of a union too."""
    named = {scope[node.id] for node in _parts(annotation) if isinstance(node, ast.Name) and node.id in scope}
    return named.pop() if len(named) == 1 else None


def _parts(annotation: ast.expr | None) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        yield from (*_parts(annotation.left), *_parts(annotation.right))
    elif annotation is not None:
        yield annotation


def functions_of(body: Iterable[ast.stmt]) -> Iterator[Function]:
    yield from (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def assignments(function: Function) -> list[tuple[ast.expr, ast.expr | None]]:
    """Every target in a function with what is assigned to it, where that is known."""
    return list(_assignments(function))


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    for inner in walk(node):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                if isinstance(target, ast.Tuple) and isinstance(inner.value, ast.Tuple):
                    yield from zip(target.elts, inner.value.elts, strict=True)
                elif isinstance(target, ast.Tuple):
                    yield from ((each, None) for each in target.elts)
                else:
                    yield target, inner.value
        elif isinstance(inner, ast.AugAssign | ast.AnnAssign):
            yield inner.target, None
        elif isinstance(inner, ast.Delete):
            yield from ((target, None) for target in inner.targets)


def parameters(function: Function, scope: Scope, own: Class | None) -> Scope:
    every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    found = {each.arg: meant for each in every if (meant := annotated(each.annotation, scope))}
    return found | ({"self": own} if own else {})


@cache
def attributes() -> dict[Class, Scope]:
    """The classes of the attributes of each class."""
    found: dict[Class, Scope] = defaultdict(dict)
    for path in MODULES:
        scope = scope_of(path)
        for own, node in classes_of(path).items():
            for inner in walk(node):
                if isinstance(inner, ast.AnnAssign) and (meant := annotated(inner.annotation, scope)):
                    found[own][ast.unparse(inner.target).removeprefix("self.")] = meant
            for function in functions_of(node.body):
                is_property = any(ast.unparse(each) == "property" for each in function.decorator_list)
                if is_property and (meant := annotated(function.returns, scope)):
                    found[own][function.name] = meant
                if function.name == "__init__":
                    names = parameters(function, scope, own)
                    for target, value in assignments(function):
                        if isinstance(target, ast.Attribute) and (meant := class_of(value, names, scope, found)):
                            found[own].setdefault(target.attr, meant)
    return found


def class_of(value: ast.expr | None, names: Scope, scope: Scope, of: dict[Class, Scope]) -> Class | None:
    match value:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Call(func=ast.Name(id=name)):
            return scope.get(name)
        case ast.Attribute(value=owner, attr=name):
            meant = class_of(owner, names, scope, of)
            return of.get(meant, {}).get(name) if meant else None
        case _:
            return None


@cache
def writers() -> dict[tuple[Class, str], set[str]]:
    """The modules that write an attribute, also into what it holds (`x.y[k] = v`); a class's own `__init__` aside."""
    found: dict[tuple[Class, str], set[str]] = defaultdict(set)
    for path in MODULES:
        module, scope = module_name(path), scope_of(path)
        owned = [(None, tree_of(path).body), *((own, node.body) for own, node in classes_of(path).items())]
        for own, body in owned:
            for function in functions_of(body):
                names = parameters(function, scope, own)
                for target, value in assignments(function):
                    if isinstance(target, ast.Name) and (meant := class_of(value, names, scope, attributes())):
                        names[target.id] = meant
                for target, _ in assignments(function):
                    while isinstance(target, ast.Subscript):
                        target = target.value
                    if not isinstance(target, ast.Attribute) or _makes_itself(function, target):
                        continue
                    if meant := class_of(target.value, names, scope, attributes()):
                        found[meant, target.attr].add(module)
    return found


def _makes_itself(function: Function, target: ast.Attribute) -> bool:
    return function.name in ("__init__", "__post_init__") and ast.unparse(target.value) == "self"
