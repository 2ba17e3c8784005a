"""Fixtures of the load generator's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.perf.load.stub_edge import StubEdge, running_stub


@pytest.fixture
async def stub() -> AsyncIterator[StubEdge]:
    """A stub edge on a free port of 127.0.0.1."""
    async with running_stub() as running:
        yield running
