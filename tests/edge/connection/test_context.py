"""A clock that does not jump, and the policy that the clients of an edge share."""

from __future__ import annotations

import time

import pytest

from services.edge.connection.connection import Connection
from services.edge.connection.context import Clock
from services.edge.framing.formats import WEBSOCKET_JSON
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.transport import FakeTransport


def test_the_clock_neither_jumps_nor_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, ticks = 1_767_225_600.0, 50.0
    monkeypatch.setattr(time, "time", lambda: wall)
    monkeypatch.setattr(time, "monotonic", lambda: ticks)
    clock = Clock()
    assert clock.now() == wall
    monkeypatch.setattr(time, "time", lambda: wall - 3600)  # an operator sets the wall clock
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 2)
    assert clock.now() == wall + 2


async def test_the_policy_of_its_clients_counts_its_users() -> None:
    edge = await TestEdge(EdgeCluster()).start()
    assert edge.context.policy.connections_of("42") == 0
    edge.context.registry.admit("42", Connection(edge.context, FakeTransport(), WEBSOCKET_JSON))
    assert edge.context.policy.connections_of("42") == 1
