"""A service as operators run it, `python -m services.<name>`, on a free port, with its log at hand."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.servers import free_port

_ROOT = Path(__file__).resolve().parents[2]
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")  # and none of the caller's FAIRLEAD_*
_LOG_LINES_SHOWN = 120


class ServiceProcess:
    """One process of a service. `variables` are its FAIRLEAD_* settings, `toml` the text of its configuration file.

    The port is set by FAIRLEAD_<SERVICE>_PORT unless `variables` has it.
    """

    def __init__(
        self, service: str, folder: Path, variables: Mapping[str, str], toml: str = "", name: str = ""
    ) -> None:
        self.service = service
        self.name = name or service
        port_variable = f"FAIRLEAD_{service.upper()}_PORT"
        self.port = int(variables.get(port_variable) or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/connection/websocket"
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log_file = folder / f"{self.name}-{self.port}.log"
        config = folder / f"{self.name}-{self.port}.toml"
        config.write_text(toml)
        self._environ = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ}
        self._environ |= {"PYTHONPATH": str(_ROOT), "FAIRLEAD_CONFIG": str(config), port_variable: str(self.port)}
        self._environ |= variables
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Starts it (again), without waiting for anything."""
        assert self._process is None or self._process.poll() is not None, "still running"
        with self._log_file.open("ab") as log:
            command = [sys.executable, "-m", f"services.{self.service}"]
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=self._environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    async def ready(self, within_s: float = 20) -> ServiceProcess:
        """Waits for 200 from /readyz. Fails at once when the process ends instead."""
        async with http_client() as http:

            async def is_ready() -> bool:
                if self.exit_code is not None:
                    return True
                return (await http.get(f"{self.url}/readyz", timeout=2)).status_code == 200

            await eventually(is_ready, within_s)
        assert self.exit_code is None, f"{self.name} ended with {self.exit_code}:\n{self.log()}"
        return self

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll() if self._process else None

    async def wait(self, within_s: float = 15) -> int:
        """Waits for its end; its exit code."""
        assert self._process is not None, "not started"
        return await asyncio.to_thread(self._process.wait, within_s)

    async def stop(self, within_s: float = 15) -> int:
        """SIGTERM, and waits; its exit code."""
        self._signal(signal.SIGTERM)
        return await self.wait(within_s)

    def kill9(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def log(self) -> str:
        """Everything that it wrote so far."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def log_tail(self) -> str:
        """The end of its log, for a report."""
        return "\n".join(self.log().splitlines()[-_LOG_LINES_SHOWN:])


class Services:
    """Starts services for a test and answers for them at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[ServiceProcess] = []
        self.allow_tracebacks = False

    def start(self, service: str, variables: Mapping[str, str], toml: str = "", name: str = "") -> ServiceProcess:
        """Starts a service without waiting; `await start(...).ready()` waits."""
        process = ServiceProcess(service, self._folder, variables, toml, name)
        self._started.append(process)
        process.start()
        return process

    def close(self) -> None:
        """Ends what still runs, at once: a test that means a graceful end asks for it itself."""
        for process in self._started:
            process.resume()
            process.kill9()

    def report(self) -> str:
        """The logs, for the report of a failed test."""
        return "\n".join(f"--- log of {one.name} (port {one.port})\n{one.log_tail()}" for one in self._started)

    def tracebacks(self) -> list[str]:
        """The services whose log holds a traceback."""
        return [one.name for one in self._started if "Traceback" in one.log()]
