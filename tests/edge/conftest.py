"""Edges in memory."""

from __future__ import annotations

import pytest

from tests.support.cluster import EdgeCluster, TestEdge


@pytest.fixture
def cluster() -> EdgeCluster:
    """What the edges of a test share."""
    return EdgeCluster()


@pytest.fixture
async def a(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster).start()


@pytest.fixture
async def b(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster).start()
