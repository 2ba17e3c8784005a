"""The bystander counts what a user would notice."""

from __future__ import annotations

import pytest

from perf.load.bystander import Bystander
from tests.perf.load.stub_edge import StubEdge


async def test_it_pings_and_connects(stub: StubEdge) -> None:
    bystander = Bystander(f"ws://127.0.0.1:{stub.port}/", "t")
    await bystander.watch(0.3)
    assert bystander.ping_s and len(bystander.connect_s) >= 2
    assert not bystander.refused and not bystander.lost


async def test_a_connect_that_fails_is_counted_by_its_cause(stub: StubEdge) -> None:
    bystander = Bystander(f"ws://127.0.0.1:{stub.port}/", "t")
    stub.errors["connect"] = (111, "too many requests")
    await bystander._connect()
    stub.errors.clear()
    stub.http_status = 503
    await bystander._connect()
    assert bystander.refused == {"AssertionError": 1, "InvalidStatus": 1} and not bystander.connect_s


async def test_it_needs_an_edge() -> None:
    with pytest.raises(OSError):
        await Bystander("ws://127.0.0.1:1/", "t").watch(0.1)
