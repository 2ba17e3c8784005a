"""The calls for asyncio are those for threads: the same methods, parameters and docstrings."""

from __future__ import annotations

import inspect

import pytest

from fairlead.awaited import AsyncCalls
from fairlead.blocking import Calls

METHODS = [name for name, member in vars(Calls).items() if inspect.isfunction(member) and name[0] != "_"]


def test_both_have_the_same_methods():
    assert [name for name in vars(AsyncCalls) if name in METHODS] == METHODS and "publish" in METHODS
    assert {name for name in vars(AsyncCalls) if name[0] != "_"} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_but_for_being_awaited(name):
    blocking, awaited = getattr(Calls, name), getattr(AsyncCalls, name)
    assert inspect.signature(blocking) == inspect.signature(awaited)
    assert inspect.getdoc(blocking) == inspect.getdoc(awaited)
    assert inspect.iscoroutinefunction(awaited) and not inspect.iscoroutinefunction(blocking)
