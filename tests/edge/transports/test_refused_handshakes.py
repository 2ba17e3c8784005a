"""Refused upgrades and requests in the session log: the status and the cause, and from where as configured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proto.events import Refused, SessionEvent
from services.edge.arrival import Kept
from services.edge.connection.refusal_facts import OF_A_KIND
from services.edge.session.policy import Policy
from services.edge.transports.http_streams import client_routes
from services.edge.transports.refused_handshakes import EMULATE, HANDSHAKE, note_refused
from tests.edge.transports.test_turned_away import HEAD, HERE, upgraded
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge

SHOWN: dict[str, Any] = {
    "transports": ["websocket", "uni_websocket", "sse", "http_stream"],
    "session_event_details": ["address", "transport", "user_agent", "origin"],
    "session_addresses": "truncated",
}


async def edge_that_tells() -> TestEdge:
    edge = await TestEdge(EdgeCluster(), **SHOWN).start()
    edge.context.current.replace(_keeping(edge))
    return edge


def _keeping(edge: TestEdge) -> Policy:
    return replace(edge.context.policy, kept=Kept(request=True))


def shown(events: list[SessionEvent]) -> list[tuple[str, int, str, str, str, str]]:
    return [
        (each.action, each.code, each.reason, each.address, each.transport, each.origin)
        for each in events
        if isinstance(each, Refused)
    ]


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        (
            HEAD.replace(b"\r\n\r\n", b"\r\nOrigin: https://other.example\r\n\r\n"),
            (HANDSHAKE, 403, "origin", "192.0.2.0/24", "websocket", "https://other.example"),
        ),
        (
            HEAD.replace(b"Version: 13", b"Version: 8"),
            (HANDSHAKE, 426, "unsupported_version", "192.0.2.0/24", "websocket", ""),
        ),
        (HEAD.replace(b"/websocket", b"/elsewhere"), (HANDSHAKE, 404, "not_offered", "192.0.2.0/24", "websocket", "")),
    ],
    ids=["origin", "version", "path"],
)
async def test_an_upgrade(head: bytes, refused: tuple[str, int, str, str, str, str]) -> None:
    edge = await edge_that_tells()
    upgraded(edge, HERE, head)
    assert shown(edge.sessions.events) == [refused]


async def test_the_address_stands_nowhere_but_where_the_settings_want_it() -> None:
    """Its reason is the cause: the text for the client's developer names his address."""
    edge = await TestEdge(EdgeCluster(), session_event_details=["transport"]).start()
    edge.context.current.replace(_keeping(edge))
    upgraded(edge, HERE, HEAD.replace(b"Version: 13", b"Version: 8"))
    assert HERE not in repr(edge.sessions.events)


async def test_a_request_for_a_stream_and_one_with_commands() -> None:
    edge = await edge_that_tells()
    routes = {each.path: each.endpoint for each in client_routes(edge.context, edge.peers, 10)}
    assert await Call(routes["/connection/sse"], "DELETE", body=[], client=HERE).answered() == 405
    assert await Call(routes["/emulation"], "POST", body=[b"{}"], client=HERE).answered() == 400
    assert shown(edge.sessions.events) == [
        (HANDSHAKE, 405, "bad_request", "192.0.2.0/24", "sse", ""),
        (EMULATE, 400, "bad_request", "192.0.2.0/24", "", ""),
    ]


async def test_a_flood_of_them_is_counted() -> None:
    edge = await edge_that_tells()
    for _ in range(OF_A_KIND + 500):
        note_refused(edge.context, 503, "no_room")
    edge.context.refusal_facts.flush()
    assert len(edge.sessions.events) == OF_A_KIND + 1
    assert sum(each.count for each in edge.sessions.events if isinstance(each, Refused)) == OF_A_KIND + 500
