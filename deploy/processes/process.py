"""One program as a child process: its output goes to a log file; it can be awaited, stopped and killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

TAIL_LINES = 15
_POLL_S = 0.02
_TAIL_BYTES = 256 * 1024


class ProcessError(Exception):
    """A program is missing, does not start, or does not get ready. The text says why, with the end of its log."""


@dataclass(frozen=True)
class Program:
    """What to run. `environment` is added to the caller's environment."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    folder: Path | None = None  # to run in; None: the caller's


class Started(Protocol):
    """The part of `subprocess.Popen` that is used, so that a process may be started in another way."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


class Process:
    """A program that `start` runs; it may be started again after it has ended. Each run appends to the file `log`.

    `environ` is the environment that `program.environment` is added to, by default this process's. `own_group` gives it
    its own process group: Ctrl-C in the terminal does not reach it, and `kill` also kills its children. `popen` starts
    it, and takes the arguments of `subprocess.Popen`.
    """

    def __init__(
        self,
        program: Program,
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        own_group: bool = False,
        popen: Callable[..., Started] = subprocess.Popen,
    ) -> None:
        self.program = program
        self.log = log
        self.started_at = 0.0  # time.monotonic() just before the process was made
        self._environ = environ
        self._own_group = own_group
        self._start = popen
        self._popen: Started | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        """Raises ProcessError before the first `start`."""
        if self._popen is None:
            raise ProcessError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and before the first start; negative for the signal that ended it."""
        return None if self._popen is None else self._popen.poll()

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Returns at once. Raises OSError if the program cannot be run."""
        environ = os.environ if self._environ is None else self._environ
        with self.log.open("ab") as output:
            self.started_at = time.monotonic()
            self._popen = self._start(
                self.program.command,
                cwd=self.program.folder,
                env={**environ, **self.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=self._own_group,
            )

    def wait_until_ready(self, is_ready: Callable[[], bool], within_s: float, poll_s: float = _POLL_S) -> float:
        """Blocks until `is_ready()`; returns the seconds since the start.

        Raises `ProcessError` with the end of the log if it is not ready in time, or as soon as the process has ended.
        """
        until = time.monotonic() + within_s
        while not is_ready():
            if not self.is_running:
                raise self.early_end()
            if time.monotonic() > until:
                raise ProcessError(f"{self.name} was not ready within {within_s:.0f} s. {self.last_words()}")
            time.sleep(poll_s)
        return time.monotonic() - self.started_at

    def send_signal(self, number: int) -> None:
        """Does nothing if the process does not run."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def wait(self, within_s: float) -> int | None:
        """Blocks until the process ends; returns its exit code, or None if it still runs after `within_s`."""
        if self._popen is None:
            return None
        if self._popen.poll() is None and hasattr(os, "pidfd_open"):
            # subprocess would poll, and see the end up to 50 ms late.
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(self._popen.pid)
                try:
                    poll = select.poll()
                    poll.register(handle, select.POLLIN)
                    ended = bool(poll.poll(within_s * 1000))
                finally:
                    os.close(handle)
                # subprocess does not see the end while another thread is asking for it, so that may take a moment
                # longer.
                within_s = 1.0 if ended else 0.0
        try:
            return self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, within_s: float) -> int | None:
        """Sends the program's stop signal, and waits as `wait` does."""
        self.send_signal(self.program.stop_signal)
        return self.wait(within_s)

    def end(self, within_s: float) -> None:
        """Stops the process, and kills it if it still runs after `within_s`."""
        if self.stop(within_s) is None:
            self.kill()

    def kill(self) -> None:
        """Sends SIGKILL, also to the children if it has its own group; returns when the process is gone."""
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._own_group:
                os.killpg(self._popen.pid, signal.SIGKILL)
            else:
                self._popen.kill()
        self._popen.wait()

    def log_text(self) -> str:
        """Everything that the process has written so far; "" before the first start."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def early_end(self) -> ProcessError:
        """The error of a process that has ended before it was ready."""
        return ProcessError(f"{self.name} ended with exit code {self.exit_code}. {self.last_words()}")

    def last_words(self) -> str:
        return "Its log ends:\n" + ("\n".join(tail(self.log, TAIL_LINES)) or "(the log is empty)")


def tail(log: Path, lines: int, since: int = 0) -> list[str]:
    """The last lines of a log file, nothing from before the byte `since`; none if there is no such file."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            since = since if since <= size else 0
            file.seek(max(since, size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
