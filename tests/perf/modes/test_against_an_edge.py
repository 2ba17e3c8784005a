"""perf against a real edge on a real NATS: wire client, heartbeats and drain are right not only on a stub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.perf.command import perf
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]

SECRET = "a-recognisable-secret-of-the-tests-0123456789"
CHANNELS = '[[channel.namespaces]]\nname = "perf"\nallow_subscribe_for_client = true\n'


def variables(nats_server: NatsServer) -> dict[str, str]:
    return {"FAIRLEAD_NATS_URL": nats_server.url, "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET}


async def test_connects_are_measured_with_the_cost_to_the_edge(
    nats_server: NatsServer, services: Services, tmp_path: Path
) -> None:
    edge = await services.start("edge", {**variables(nats_server), "FAIRLEAD_EDGE_NAME": "measured"}, CHANNELS).ready()
    options = ["--url", edge.ws_url, "--connections", "50", "--rate", "500", "--hold", "0", "--channel", "perf:{i}"]
    outcome = await perf(tmp_path, "connect", *options, variables=variables(nats_server))
    assert outcome.code == 0, outcome.output
    rss, cpu = outcome.report["edge_rss_bytes"], outcome.report["edge_cpu_s"]
    assert rss["edges"].keys() == cpu["edges"].keys() == {"measured"}
    assert rss["total"] == rss["edges"]["measured"]
    assert rss["total"]["before"] > 1_000_000
    assert cpu["total"]["after"] >= cpu["total"]["before"] > 0


async def test_a_drain_keeps_its_promises(
    nats_server: NatsServer, postgres: Postgres, services: Services, tmp_path: Path
) -> None:
    (tmp_path / "fairlead.toml").write_text(CHANNELS)
    known = {**variables(nats_server), "FAIRLEAD_HTTP_API_KEY": "a-key-of-the-tests"}
    sessions = await services.start("sessions", {**known, "FAIRLEAD_POSTGRES_URL": postgres.url}).ready()
    outcome = await perf(
        *(tmp_path, "drain", "--connections", "50", "--channel", "perf:{i}", "--sessions-url", sessions.url),
        variables={**known, "FAIRLEAD_CONFIG": "fairlead.toml"},
    )
    assert outcome.code == 0, outcome.output
    assert (outcome.report["close_codes"], outcome.report["exit_code"]) == ({"1001": 50}, 0)
    assert outcome.report["session_end_codes"] == {"1001": 50}
    assert outcome.report["broken_promises"] == []
