"""Edges in memory."""

from __future__ import annotations

import pytest

from tests.support.cluster import EdgeCluster, TestEdge


@pytest.fixture
def cluster() -> EdgeCluster:
    """The shared part of the edges of a test."""
    return EdgeCluster()


@pytest.fixture
async def a(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster).start()


@pytest.fixture
async def b(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster).start()
