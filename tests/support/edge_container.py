"""An edge in a container of the image, on this machine's loopback, beside edges that are processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.processes.ports import free_port
from deploy.processes.readiness import http_status
from tests.support.eventually import eventually

_CONFIGURATION = "/etc/fairlead.toml"


class EdgeContainer:
    """One edge. `variables` are its FAIRLEAD_* settings, `toml` the text of its configuration file."""

    def __init__(self, image: str, folder: Path, variables: Mapping[str, str], toml: str) -> None:
        self._image = image
        self._name = f"fairlead-test-edge-{os.urandom(4).hex()}"
        self._port = free_port()
        self._configuration = folder / "fairlead.toml"
        self._configuration.write_text(toml)
        self._configuration.chmod(0o644)  # the container's user reads it
        self._variables = {**variables, "FAIRLEAD_CONFIG": _CONFIGURATION, "FAIRLEAD_EDGE_PORT": str(self._port)}
        self.ws_url = f"ws://127.0.0.1:{self._port}/connection/websocket"

    def python_version(self) -> tuple[int, ...]:
        """Of the image."""
        version = self._docker(
            "run", "--rm", self._image, "python", "-c", "import platform; print(platform.python_version())"
        )
        return tuple(map(int, version.split(".")))

    async def ready(self, within_s: float = 60) -> EdgeContainer:
        """Starts it, and waits for 200 from /readyz."""
        mount = f"type=bind,readonly,source={self._configuration},target={_CONFIGURATION}"
        variables = [f"--env={name}={value}" for name, value in self._variables.items()]
        options = ("--detach", "--network", "host", "--mount", mount, "--read-only", *variables)
        await asyncio.to_thread(self._docker, "run", "--name", self._name, *options, self._image)

        async def is_ready() -> bool:
            return await asyncio.to_thread(http_status, self._port, path="/readyz") == 200

        await eventually(is_ready, within_s=within_s)
        return self

    def log(self) -> str:
        return self._docker("logs", self._name)

    def close(self) -> None:
        """Removes it, if it was made."""
        subprocess.run(["docker", "rm", "--force", self._name], capture_output=True, timeout=60, check=False)

    def _docker(self, *arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"docker {arguments[0]}: {done.stdout}{done.stderr}"
        return (done.stdout + done.stderr).strip()
