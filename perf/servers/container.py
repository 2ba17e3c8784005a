"""An edge in a container of perf's own: it shows how much longer the image takes to be ready than the process alone.

It shares this machine's loopback (`--network host`), so it finds perf's NATS, and it has an address like any other
edge. The container is created before the clock runs: what is timed is `docker start`, as after a reboot or a move.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil

from deploy.processes.ports import free_port
from deploy.processes.readiness import http_status
from perf.errors import Refusal
from perf.servers.edge import READY_PATH
from perf.servers.processes import READY_WITHIN_S

_CONFIGURATION = "/etc/fairlead.toml"


class OwnContainer:
    """Made by `created_container`. `started_at` is `time.monotonic()` before it was started."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._port = port
        self.started_at = 0.0

    async def start(self) -> None:
        self.started_at = time.monotonic()
        await _docker("start", self._name)

    async def ready(self, poll_s: float) -> None:
        """Waits for 200 from /readyz. Raises `Refusal` with its log if that does not happen."""
        until = time.monotonic() + READY_WITHIN_S
        while await asyncio.to_thread(http_status, self._port, path=READY_PATH) != 200:
            if time.monotonic() > until:
                raise Refusal(f"the container was not ready in time. Its log:\n{await _docker('logs', self._name)}")
            await asyncio.sleep(poll_s)

    async def cpu_s(self) -> float:
        """User + system CPU seconds of its first process."""
        cpu = psutil.Process(int(await _docker("inspect", "--format", "{{.State.Pid}}", self._name))).cpu_times()
        return cpu.user + cpu.system


@contextlib.asynccontextmanager
async def created_container(image: str, environ: Mapping[str, str]) -> AsyncIterator[OwnContainer]:
    """A container that is not started yet; it is removed at the end of the block.

    Raises `Refusal` without an engine.
    """
    port, name = free_port(), f"fairlead-perf-{os.urandom(4).hex()}"
    ours = {key: value for key, value in environ.items() if key.startswith("FAIRLEAD_")}
    configuration = ours.pop("FAIRLEAD_CONFIG")
    ours |= {"FAIRLEAD_CONFIG": _CONFIGURATION, "FAIRLEAD_EDGE_PORT": str(port), "FAIRLEAD_EDGE_NAME": name}
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-") as folder:
        variables = (
            Path(folder) / "environment"
        )  # on the command line, every user of the machine could read the secrets
        variables.write_text("".join(f"{key}={value}\n" for key, value in ours.items()))
        mount = f"type=bind,readonly,source={configuration},target={_CONFIGURATION}"
        options = ("--network", "host", "--env-file", str(variables), "--mount", mount, "--read-only")
        await _docker("create", "--pull", "never", "--name", name, *options, image)
        try:
            yield OwnContainer(name, port)
        finally:
            await _docker("rm", "--force", name)


async def _docker(*arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "docker", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise Refusal(f"docker cannot be run: {error.strerror}") from None
    output = (await process.communicate())[0].decode(errors="replace").strip()
    if process.returncode:
        raise Refusal(f"docker {arguments[0]}: {output}")
    return output
