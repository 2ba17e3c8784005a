"""One user's lines are found in the logs of running edges, as text and as JSON, and so is an edge that was killed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from perf.servers.edge import times_lost
from tests.support.edges import api, connected, start_edge, token, wire_client
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.once]

LOGGED = {
    "FAIRLEAD_LOG_CONNECTIONS": "true",
    "FAIRLEAD_LOG_LEVEL": "info",
    "FAIRLEAD_CLIENT_USER_CONNECTION_LIMIT": "1",
}
FIELD = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)')


def lines_of(edge: ServiceProcess, user: str) -> list[dict[str, Any]]:
    """What an operator finds of this user: by grep in the text form, by a field in JSON."""
    lines = edge.log().splitlines()
    if edge.name == "edge-json":
        records = [json.loads(line) for line in lines]
        return [each for each in records if each.get("user") == user]
    found = re.compile(rf" user={user}( |$)")  # as docs/operations.md says: it may be the last field
    return [{"message": line, **dict(FIELD.findall(line))} for line in lines if found.search(line)]


async def one_of_each(edge: ServiceProcess, user: str) -> None:
    """A user who connects, is refused in every way, and goes."""
    async with connected(edge, user) as client, wire_client(edge) as second:
        assert (await client.ask(subscribe={"channel": "nope:x\nforged"}))["error"]["code"] == 102
        assert (await client.ask(publish={"channel": "chat:x", "data": 1}))["error"]["code"] == 103
        await second.send({"id": 1, "connect": {"token": token(user)}})
        assert (await second.closed())[0] == 3504
        assert (await api(edge, "subscribe", {"user": user, "channel": "nope:y"})).json()["error"]["code"] == 102
    await eventually(lambda: "a client disconnected" in edge.log())


async def test_one_user_s_lines_are_found_in_both_forms_and_a_killed_edge_is_a_warning(services, nats_server):
    text = start_edge(services, nats_server, "edge-text", **LOGGED)
    as_json = start_edge(services, nats_server, "edge-json", **LOGGED, FAIRLEAD_LOG_FORMAT="json")
    for edge in (await text.ready(), await as_json.ready()):
        await one_of_each(edge, "mallory")
        await one_of_each(edge, "alice")
        came, refused, denied, second, called, left = found = lines_of(edge, "alice")
        codes = [str(each.get("code", "")) for each in found]
        assert codes == ["", "102", "103", "3504", "102", codes[-1]]
        assert "a client connected" in came["message"] and "a client disconnected" in left["message"]
        assert (came["transport"], came["address"], came["client"]) == ("websocket", "127.0.0.1", left["client"])
        assert float(left["seconds"]) > 0
        assert "namespace is not configured" in refused["message"] and "nope" in refused["channel"]
        assert denied["channel"] == "chat:x" and denied["client"] == came["client"]
        assert "client.user_connection_limit" in second["message"]
        assert (called["method"], called["channel"], called["address"]) == ("subscribe", "nope:y", "127.0.0.1")
    assert not [line for line in text.log().splitlines() if line.startswith("forged")]

    as_json.kill9()
    await eventually(lambda: "another edge is lost" in text.log())
    (line,) = [line for line in text.log().splitlines() if "another edge is lost" in line]
    assert times_lost(text.log(), "edge-json") == 1, "perf counts them by this line"
    assert " WARNING " in line and " edge=edge-json instance=" in line and re.search(r"for \d+\.\d s", line)


async def test_connects_are_not_logged_unless_somebody_asks(edge):
    async with connected(edge, "alice"):
        pass
    assert (await api(edge, "publish", {"channel": "nope:x", "data": 1}, key="wrong")).status_code == 401
    await eventually(lambda: "the API key that was sent is not in the configuration" in edge.log())
    assert "a client connected" not in edge.log()
