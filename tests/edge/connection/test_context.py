"""The policy that the clients of an edge share, and the clocks that it is given."""

from __future__ import annotations

import time

import pytest

from services.edge.app import Edge
from services.edge.client_settings import ClientSection
from services.edge.connection.connection import Connection
from services.edge.edge_settings import EdgeSection
from services.edge.framing.formats import WEBSOCKET_JSON
from services.edge.settings import EdgeSettings
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.transport import FakeTransport


async def test_the_policy_of_its_clients_counts_its_users() -> None:
    edge = await TestEdge(EdgeCluster()).start()
    assert edge.context.policy.connections_of("42") == 0
    edge.context.registry.admit("42", Connection(edge.context, FakeTransport(), WEBSOCKET_JSON))
    assert edge.context.policy.connections_of("42") == 1


def test_an_edge_that_started_with_a_wrong_clock_or_was_suspended_goes_by_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, steady = 1_767_225_600.0, 50.0
    monkeypatch.setattr(time, "time", lambda: wall)
    monkeypatch.setattr(time, "monotonic", lambda: steady)
    settings = EdgeSettings(edge=EdgeSection(broker="memory"), client=ClientSection(insecure=True))
    context = Edge(settings, lambda: settings).context
    began = context.clock.now()
    for moment in (wall - 3600, wall + 3600):  # it is put right, or goes on alone
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert context.clock.now() == began, "timers see nothing of it"
        assert context.clock.now() + context.policy.clock_ahead() == context.clock.unix() == moment
