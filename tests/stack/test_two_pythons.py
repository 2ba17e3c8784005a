"""An edge of this environment's Python and one of the image's, in one cluster: what one stores, the other one reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.mutations.storm import TOML, Storm
from tests.support.edge_container import EdgeContainer
from tests.support.edges import SECRET, token
from tests.support.processes import Services
from tests.support.servers import NatsServer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

TEXTS, COMMANDS = 10_000, 500


async def test_mutated_texts_and_commands_end_no_subscriber_of_either_python(
    services: Services, nats_server: NatsServer, image: str, tmp_path: Path
) -> None:
    settings = {"FAIRLEAD_NATS_URL": nats_server.url, "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET}
    contained = EdgeContainer(image, tmp_path, settings, TOML)
    others = contained.python_version()
    assert others[:2] != sys.version_info[:2], f"two Pythons are needed, and both are {others}: test on 3.11"
    native = services.start("edge", settings, TOML)
    try:
        edges = (await native.ready()).ws_url, (await contained.ready()).ws_url
        async with Storm(edges, token("mutations")) as storm:
            await storm.texts(TEXTS, seed=2)
            await storm.commands(COMMANDS, seed=2)
        assert "Traceback" not in contained.log()
    finally:
        contained.close()
