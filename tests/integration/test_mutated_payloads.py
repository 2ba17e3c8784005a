"""What a client sends ends none but itself: mutated texts and commands through two edges, held to their promises."""

from __future__ import annotations

import pytest

from tests.mutations.storm import TOML, Storm
from tests.support.edges import SECRET, token
from tests.support.processes import Services
from tests.support.servers import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.once]

TEXTS, COMMANDS = 800, 100


async def test_mutated_texts_and_commands_end_no_subscriber(services: Services, nats_server: NatsServer) -> None:
    """`python -m tests.mutations.run` sends as many as one likes, and tests/stack some between two Pythons."""
    settings = {"FAIRLEAD_NATS_URL": nats_server.url, "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET}
    started = [services.start("edge", settings, TOML, name) for name in ("edge-a", "edge-b")]
    first, second = [await each.ready() for each in started]
    async with Storm((first.ws_url, second.ws_url), token("mutations")) as storm:
        await storm.texts(TEXTS, seed=3)
        await storm.commands(COMMANDS, seed=3)
    assert storm.report.texts["good"] > 150 and storm.report.texts["too deep"] > 10
    assert storm.report.frames["answered"] > 5 and storm.report.frames["closed"] > 5
