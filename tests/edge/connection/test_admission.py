"""Which pages may connect, and whether an edge takes new clients."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from services.edge.connection.admission import Admission, Origins
from tests.support.cluster import EdgeCluster, TestEdge


@pytest.mark.parametrize("patterns", [[], ["*"], ["https://example.com"]])
def test_a_client_that_is_no_browser_sends_no_origin(patterns: list[str]) -> None:
    assert Origins(patterns).allow(None)


@pytest.mark.parametrize(
    ("patterns", "origin"),
    [
        (["*"], "https://anything.example"),
        (["*"], "null"),
        (["https://example.com"], "https://example.com"),
        (["https://Example.com"], "HTTPS://EXAMPLE.com"),
        (["https://*.example.com"], "https://chat.example.com"),
        (["https://a.example", "https://b.example:8443"], "https://b.example:8443"),
        (["http://localhost:*"], "http://localhost:3000"),
    ],
)
def test_origins_that_may(patterns: list[str], origin: str) -> None:
    assert Origins(patterns).allow(origin)


@pytest.mark.parametrize(
    ("patterns", "origin"),
    [
        ([], "https://example.com"),
        ([], ""),
        (["https://example.com"], "http://example.com"),
        (["https://example.com"], "https://example.com.evil.example"),
        (["https://example.com"], "https://evil.example/https://example.com"),
        (["https://example.com"], "https://example.com\n.evil.example"),
        (["https://example.com"], "https://example.com:8443"),
        (["https://a.example", "https://b.example"], "https://b.example.evil.example"),
        (["https://*.example.com"], "https://example.com"),
        (["https://*.example.com"], "https://example.com.evil.example"),
        (["https://example.com"], "https://exampleXcom"),
        (["https://example.com"], "null"),
    ],
)
def test_origins_that_may_not(patterns: list[str], origin: str) -> None:
    assert not Origins(patterns).allow(origin)


def test_an_edge_says_why_it_should_not_be_sent_clients() -> None:
    broker_available = Mock(return_value=True)
    admission = Admission(Origins([]), broker_available)
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


async def test_an_edge_is_unready_without_its_broker() -> None:
    edge = await TestEdge(EdgeCluster()).start()
    assert edge.context.admission.unready() is None
    edge.broker.available = False
    assert edge.context.admission.unready() == "NATS is unavailable"


def test_an_edge_that_is_drained_before_it_has_started_takes_nobody() -> None:
    admission = Admission(Origins([]), lambda: False)
    admission.begin_drain()
    assert admission.unready() == "draining" and admission.refusal() == "this edge is starting"
    admission.close()
    assert admission.refusal() == "this edge is going away"
