"""The lines about clients that come and go, for operators who ask for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.edge.connection.connection_log import STRANGERS, ConnectionLog
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge


@pytest.fixture
async def edge(caplog: pytest.LogCaptureFixture) -> TestEdge:
    caplog.set_level("INFO")
    edge = await TestEdge(
        EdgeCluster(), token_hmac_secret_key=SECRET, allow_anonymous_connect_without_token=True
    ).start()
    edge.context = replace(edge.context, connection_log=ConnectionLog(edge.clock.now))
    return edge


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if "connected" in record.getMessage()]


async def test_who_came_from_where_by_what_and_how_it_ended(edge: TestEdge, caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(edge)
    await talk.connect({"sub": "alice"}, name="js", version="5.3.1")
    edge.clock.time += 12.5
    talk.connection.closed_by_peer(3001, "bye")
    came, left = lines(caplog)
    assert (came["message"], left["message"]) == ("a client connected", "a client disconnected: bye")
    for line in (came, left):
        told = [line[name] for name in ("client", "user", "transport", "encoding", "library")]
        assert told == [talk.id, "alice", "websocket", "json", "js/5.3.1"]
    assert (left["code"], left["seconds"]) == (3001, 12.5)


async def test_what_a_client_calls_itself_is_kept_in_one_word(edge: TestEdge, caplog: pytest.LogCaptureFixture) -> None:
    await Talk(edge).connect({"sub": "alice"})
    assert "library" not in lines(caplog)[0], "it said nothing"


async def test_strangers_cannot_fill_the_log_and_do_not_hide_users(
    edge: TestEdge, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(STRANGERS + 50):
        await connected(edge)
    assert len(lines(caplog)) == STRANGERS
    await connected(edge, sub="alice")
    assert lines(caplog)[-1]["user"] == "alice"


async def test_a_client_that_was_not_let_in_neither_came_nor_left(
    edge: TestEdge, caplog: pytest.LogCaptureFixture
) -> None:
    Talk(edge).say({"id": 1, "connect": {"token": "x"}})
    Talk(edge).connection.lost()
    assert lines(caplog) == []
