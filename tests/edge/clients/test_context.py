"""Which origins may connect, a clock that does not jump, and what the edge says of itself."""

from __future__ import annotations

import time

import pytest

from services.edge.clients.connection import Connection
from services.edge.clients.context import Clock, NoKeys, Origins
from services.edge.framing.formats import WEBSOCKET_JSON
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.transport import FakeTransport


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


def test_the_clock_neither_jumps_nor_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, ticks = 1_767_225_600.0, 50.0
    monkeypatch.setattr(time, "time", lambda: wall)
    monkeypatch.setattr(time, "monotonic", lambda: ticks)
    clock = Clock()
    assert clock.now() == wall
    monkeypatch.setattr(time, "time", lambda: wall - 3600)  # an operator sets the wall clock
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 2)
    assert clock.now() == wall + 2


async def test_an_edge_says_why_it_should_not_be_sent_clients() -> None:
    edge = await TestEdge(EdgeCluster()).start()
    context = edge.context
    assert context.unready() is None and context.closed_because() is None
    edge.broker.available = False
    assert context.unready() == "NATS is away"
    assert context.closed_because() is None, "who comes all the same is taken: the log is there again soon"
    context.started = False
    assert (context.unready() or "").startswith("starting") and context.closed_because() == "this edge is starting"
    context.draining = True
    assert context.unready() == "draining"
    context.started = context.closed_to_new = True
    assert context.closed_because() == "this edge is going away"


async def test_the_policy_of_its_clients_counts_its_users() -> None:
    edge = await TestEdge(EdgeCluster()).start()
    assert edge.context.policy.connections_of("42") == 0
    edge.context.users.add("42", Connection(edge.context, FakeTransport(), WEBSOCKET_JSON))
    assert edge.context.policy.connections_of("42") == 1


async def test_there_are_no_keys_but_those_of_the_configuration() -> None:
    assert await NoKeys().wanted("k1"), "it was looked for, in vain"


async def test_refusals_are_in_the_log_but_do_not_flood_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    edge = await TestEdge(EdgeCluster()).start()
    for number in range(1000):
        edge.context.refused("a command was refused", f"number {number}")
    few = len(caplog.records)
    assert 0 < few < 100
    edge.clock.time += 3600
    edge.context.refused("a command was refused", "the last")
    assert "the last" in caplog.text and f"{1000 - few} more like this" in caplog.text


async def test_one_kind_of_refusal_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    edge = await TestEdge(EdgeCluster()).start()
    for number in range(1000):
        edge.context.refused(f"a command was refused with {number % 7}", "it")
    edge.context.refused("an upgrade was refused", "the origin")
    assert "the origin" in caplog.text
    for number in range(10_000):
        edge.context.refused(f"kind {number}", "made up")
    assert len(edge.context.refusals) < 1000 and len(caplog.records) < 2000
