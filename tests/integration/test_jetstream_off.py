"""An edge whose NATS has no JetStream, or too little of it, says so in one line and in /readyz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.edges import start_edge
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess
from tests.support.servers_native import NativeNats

pytestmark = [pytest.mark.integration, pytest.mark.native]

WITHOUT = 'accounts { A { users: [ { user: "a", password: "b" } ] } }\nno_auth_user: "a"'


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NativeNats]:
    server = NativeNats(tmp_path / "nats")
    try:
        yield server
    finally:
        server.close()


async def _said(edge: ServiceProcess) -> str:
    async with http_client() as http:
        answer = await http.get(f"{edge.url}/readyz")
    assert answer.status_code == 503
    return answer.text


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        pytest.param(WITHOUT, r"stream \w+: JetStream not enabled for account: switch JetStream on", id="off"),
        pytest.param(
            "jetstream { max_file_store: 1MB }",
            r"stream \w+: insufficient storage resources available for its \d+ bytes: .*raise max_file_store of NATS",
            id="too small",
        ),
    ],
)
async def test_an_edge_says_once_what_to_change_and_starts_when_it_is_changed(services, nats, configuration, said):
    nats.configure(configuration)
    nats.start()
    edge = start_edge(services, nats, "edge-a")

    async def tells() -> None:
        assert re.match(rf"not ready: starting: {said}", await _said(edge))

    await eventually(tells, within_s=20)
    lines = [line for line in edge.log().splitlines() if "WARNING" in line]
    assert len(lines) == len({re.sub("stream .*?:", "", line[30:]) for line in lines}), "no line twice"
    assert all(re.search(rf"streams not ready, retrying: {said}", line) for line in lines)
    nats.stop()
    nats.configure("")
    nats.start()
    await edge.ready(30)
    assert "can be used again" not in edge.log(), "it was not in use"
