"""A service as operators run it, `python -m services.<name>`, on a free port, with its log at hand."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.processes.ports import free_port
from deploy.processes.process import Process, Program, Started, tail
from deploy.processes.readiness import http_status
from tests.support import forks

_ROOT = Path(__file__).resolve().parents[2]
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")  # and none of the caller's FAIRLEAD_*
_LOG_LINES_SHOWN = 120
RELOADED = re.compile(r"(reload(?:ed|).*: .*)\n")


class ServiceProcess:
    """One process of a service. `variables` are its FAIRLEAD_* settings, `toml` the text of its configuration file.

    The port is set by FAIRLEAD_<SERVICE>_PORT unless `variables` has it.
    """

    def __init__(
        self, service: str, folder: Path, variables: Mapping[str, str], toml: str = "", name: str = "", python: str = ""
    ) -> None:
        self.service = service
        self.name = name or service
        port_variable = f"FAIRLEAD_{service.upper()}_PORT"
        self.port = int(variables.get(port_variable) or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/connection/websocket"
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / f"{self.name}-{self.port}.toml"
        self.config.write_text(toml)
        environ = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ}
        environ |= {"PYTHONPATH": str(_ROOT), "FAIRLEAD_CONFIG": str(self.config), port_variable: str(self.port)}
        program = Program(self.name, [python or sys.executable, "-m", f"services.{service}"], variables, folder=folder)
        self._environ = {**environ, **variables}
        self._process = Process(program, folder / f"{self.name}-{self.port}.log", environ=environ, popen=forks.popen)

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Starts it (again), without waiting for anything."""
        assert not self._process.is_running, "still running"
        self._process.start()

    async def ready(self, within_s: float = 20) -> ServiceProcess:
        """Waits for 200 from /readyz. Raises `ProcessError` with its log, at once if the process ends instead."""
        await asyncio.to_thread(
            self._process.wait_until_ready, lambda: http_status(self.port, path="/readyz") == 200, within_s
        )
        return self

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.exit_code

    async def wait(self, within_s: float = 15) -> int:
        """Waits for its end; returns its exit code."""
        code = await asyncio.to_thread(self._process.wait, within_s)
        assert code is not None, f"{self.name} did not end within {within_s} s"
        return code

    async def stop(self, within_s: float = 15) -> int:
        """Sends SIGTERM and waits; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await self.wait(within_s)

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m services.NAME ARGUMENTS` with the settings of this process, as in its container."""
        argv = [*self._process.program.command, *arguments]
        return await asyncio.to_thread(forks.run, argv, env=self._environ, timeout=30)

    def begin(self, *arguments: str) -> Started:
        """The same, without waiting for its end."""
        argv = [*self._process.program.command, *arguments]
        with open(os.devnull, "wb") as nowhere:
            return forks.popen(argv, env=self._environ, stdout=nowhere, stderr=nowhere)

    def kill9(self) -> None:
        self._process.kill()

    async def reload(self, toml: str | None = None) -> str:
        """SIGHUP, with another configuration file if one is given; returns what the log says of the reload."""
        if toml is not None:
            self.config.write_text(toml)
        before = len(self.log())
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(15):
            while not (said := RELOADED.search(self.log()[before:])):
                assert self.exit_code is None, "SIGHUP has ended it"
                await asyncio.sleep(0.02)
        return said[1]

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """Everything that it has written so far."""
        return self._process.log_text()

    def log_tail(self) -> str:
        """The end of its log, for a report."""
        return "\n".join(tail(self._process.log, _LOG_LINES_SHOWN))


class Services:
    """Starts services for a test, and reports their logs at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[ServiceProcess] = []
        self.allow_tracebacks = False

    def start(
        self, service: str, variables: Mapping[str, str], toml: str = "", name: str = "", python: str = ""
    ) -> ServiceProcess:
        """Starts a service without waiting; `await start(...).ready()` waits. `python` runs it, by default our own."""
        process = ServiceProcess(service, self._folder, variables, toml, name, python)
        self._started.append(process)
        process.start()
        return process

    def close(self) -> None:
        """Kills the processes that still run: a test that needs a graceful end stops them itself."""
        for process in self._started:
            process.resume()
            process.kill9()

    def report(self) -> str:
        """The logs, for the report of a failed test."""
        return "\n".join(f"--- log of {one.name} (port {one.port})\n{one.log_tail()}" for one in self._started)

    def tracebacks(self) -> list[str]:
        """The services whose log holds a traceback."""
        return [one.name for one in self._started if "Traceback" in one.log()]
