"""Starts our programs by fork of a process that has their modules loaded (`fork_server`), in place of
`subprocess.Popen`.

The processes are those of an ordinary start but for that: their own environment, folder, output, signals and exit code.
Whatever is not our Python running one of these programs is started as ever, so that a `popen` serves for all.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from deploy.processes.process import Started
from tests.support import fork_server
from tests.support.fork_server import PROGRAMS, REQUEST_BYTES

_ROOT: Final = Path(__file__).resolve().parents[2]
_servers: dict[str, _ForkServer] = {}
_lock: Final = threading.Lock()


def popen(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    stdin: int = subprocess.DEVNULL,
    cwd: Path | None = None,
    start_new_session: bool = False,
) -> Started:
    """Starts `python -m PROGRAM ...` by fork, for each of PROGRAMS, and anything else as `subprocess.Popen` does."""
    program = _program_of(command)
    if program is None or isinstance(stdout, int) or isinstance(stderr, int):
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=start_new_session,
        )
    with _lock:
        server = _servers.get(program)
        if server is None:
            server = _servers[program] = _started(program)
    request = {
        "program": program,
        "arguments": list(command[3:]),
        "environ": dict(env),
        "folder": None if cwd is None else str(cwd),
        "own_session": start_new_session,
    }
    return server.fork(request, (stdout.fileno(), stderr.fileno()))


def run(command: Sequence[str], *, env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, as `subprocess.run` does with `capture_output`. Raises `subprocess.TimeoutExpired`."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = popen(command, env=env, stdout=stdout, stderr=stderr)
        try:
            code = started.wait(timeout)
        except subprocess.TimeoutExpired:
            started.kill()
            raise
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read().decode(), stderr.read().decode())


def _program_of(command: Sequence[str]) -> str | None:
    if not hasattr(os, "pidfd_open") or len(command) < 3 or list(command[:2]) != [sys.executable, "-m"]:
        return None
    return command[2] if command[2] in PROGRAMS else None


def serve_by_this_process(*programs: str) -> None:
    """For a process that is such a fork itself and has only begun: from now on its own forks, with the modules that it
    has loaded, run these programs."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        control.close()
        fork_server.run(theirs)
    theirs.close()
    _servers.update(dict.fromkeys(programs, _ForkServer(control, lambda: os.waitpid(pid, 0))))


def _started(program: str) -> _ForkServer:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.support.fork_server", program, str(theirs.fileno())]
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C ends the tests, which then end their services
        )
    return _ForkServer(control, process.wait)


class _ForkServer:
    """`wait` waits for the end of its process."""

    def __init__(self, control: socket.socket, wait: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._control, self._wait = control, wait
        atexit.register(self._end)

    def fork(self, request: dict[str, Any], outputs: Sequence[int]) -> _Fork:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], outputs)
            answer, handles, _, _ = socket.recv_fds(self._control, REQUEST_BYTES, 1)
        return _Fork(self, self._number(answer), handles[0])

    def reap(self, pid: int) -> int:
        """The exit code of a process that has ended."""
        with self._lock:
            self._control.send(json.dumps({"reap": pid}).encode())
            return self._number(self._control.recv(REQUEST_BYTES))

    @staticmethod
    def _number(answer: bytes) -> int:
        assert answer, "the fork server has ended"
        return int(answer)

    def _end(self) -> None:
        self._control.close()
        self._wait()


class _Fork:
    """See `Started`. `handle` is its pidfd."""

    def __init__(self, server: _ForkServer, pid: int, handle: int) -> None:
        self.pid = pid
        self._server = server
        self._handle = handle
        weakref.finalize(self, os.close, handle)
        self._lock = threading.Lock()
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"the program of process {self.pid}", timeout or 0)
        return code

    def _ended(self, within_s: float | None) -> int | None:
        if self._code is not None:
            return self._code
        waiting = select.poll()
        waiting.register(self._handle, select.POLLIN)
        if not waiting.poll(None if within_s is None else within_s * 1000):
            return None
        with self._lock:
            if self._code is None:
                self._code = self._server.reap(self.pid)
        return self._code

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
