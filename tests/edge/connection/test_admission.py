"""Whether an edge takes new clients."""

from __future__ import annotations

from unittest.mock import Mock

from services.edge.connection.admission import Admission
from tests.support.cluster import EdgeCluster, TestEdge


def test_an_edge_says_why_it_should_not_be_sent_clients() -> None:
    broker_available = Mock(return_value=True)
    admission = Admission(broker_available, lambda: False)
    assert (admission.unready() or "").startswith("starting") and admission.refusal() == "this edge is starting"
    admission.open()
    assert admission.unready() is None and admission.refusal() is None
    broker_available.return_value = False
    assert admission.unready() == "NATS is unavailable"
    assert admission.refusal() is None, "a client that comes all the same is taken: the log is there again soon"
    broker_available.return_value = True
    admission.begin_drain()
    assert admission.unready() == "draining"
    assert admission.refusal() is None, "load balancers have not heard of it yet"
    admission.close()
    assert admission.refusal() == "this edge is going away"


def test_an_edge_says_what_nats_refuses_it_and_takes_clients_that_come_all_the_same() -> None:
    nats_problem = Mock(return_value="NATS refuses the credentials of user edge (nats.user): Authorization Violation")
    admission = Admission(lambda: False, lambda: False, nats_problem)
    assert admission.unready() == nats_problem.return_value, "rather than that it waits for NATS"
    admission.open()
    assert admission.unready() == nats_problem.return_value and admission.refusal() is None
    admission.begin_drain()
    assert admission.unready() == "draining"


async def test_an_edge_is_unready_without_its_broker() -> None:
    edge = await TestEdge(EdgeCluster()).start()
    assert edge.context.admission.unready() is None
    edge.broker.available = False
    assert edge.context.admission.unready() == "NATS is unavailable"


def test_an_edge_that_is_drained_before_it_has_started_takes_nobody() -> None:
    admission = Admission(lambda: False, lambda: False)
    admission.begin_drain()
    assert admission.unready() == "draining" and admission.refusal() == "this edge is starting"
    admission.close()
    assert admission.refusal() == "this edge is going away"


def test_an_edge_above_its_soft_limit_is_unready_only_while_another_has_room() -> None:
    room_elsewhere = Mock(return_value=False)
    admission = Admission(lambda: True, room_elsewhere)

    def has_room() -> bool:
        return admission.has_room

    assert not has_room(), "it has not started"
    admission.open()
    assert has_room()
    admission.limit_memory(above_soft=True, above_hard=False)
    assert admission.unready() is None, "somebody has to take clients, and there is memory left"
    assert not has_room(), "or another edge would be unready because of this one"
    room_elsewhere.return_value = True
    assert "memory_soft_limit" in (admission.unready() or "")
    room_elsewhere.return_value = False
    admission.limit_memory(above_soft=True, above_hard=True)
    assert "memory_hard_limit" in (admission.unready() or ""), "the hard limit holds in any case"
    admission.limit_memory(above_soft=False, above_hard=False)
    assert has_room()
    admission.begin_drain()
    assert not has_room()
