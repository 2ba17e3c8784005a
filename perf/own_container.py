"""An edge in a container of perf's own: how long the image takes, beyond what the process takes.

It shares this machine's loopback (`--network host`), so that it finds perf's NATS, and its address is perf's as always.
The container is made before the clock runs: what is timed is `docker start`, as after a reboot or a move.
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

from perf import own_edge
from perf.refusal import Refusal

_CONFIGURATION = "/etc/fairlead.toml"


class OwnContainer:
    """Made by `created`. `started_at` is `time.monotonic()` before it was started."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._port = port
        self.started_at = 0.0

    async def start(self) -> None:
        self.started_at = time.monotonic()
        await _docker("start", self._name)

    async def ready(self, poll_s: float) -> None:
        """Waits for 200 from /readyz. Raises `Refusal` with its log when that does not come."""
        if not await own_edge.answers_in_time(self._port, poll_s):
            raise Refusal(f"the container was not ready in time. Its log:\n{await _docker('logs', self._name)}")

    async def cpu_s(self) -> float:
        """User + system CPU seconds of its first process."""
        cpu = psutil.Process(int(await _docker("inspect", "--format", "{{.State.Pid}}", self._name))).cpu_times()
        return cpu.user + cpu.system


@contextlib.asynccontextmanager
async def created(image: str, environ: Mapping[str, str]) -> AsyncIterator[OwnContainer]:
    """A container that is not yet started; it is removed when the block is left. Raises `Refusal` without an engine."""
    port, name = own_edge.free_port(), f"fairlead-perf-{os.urandom(4).hex()}"
    ours = {key: value for key, value in environ.items() if key.startswith("FAIRLEAD_")}
    configuration = ours.pop("FAIRLEAD_CONFIG")
    ours |= {"FAIRLEAD_CONFIG": _CONFIGURATION, "FAIRLEAD_EDGE_PORT": str(port), "FAIRLEAD_EDGE_NAME": name}
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-") as folder:
        variables = Path(folder) / "environment"  # not on a command line, where everybody sees the secrets
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
