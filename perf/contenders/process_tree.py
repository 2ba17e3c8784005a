"""The processes of one contender, with all of their children: started, weighed, stopped.

Linux only: CPU time and memory are read from /proc. Memory is PSS, where a page that three processes share counts a
third in each, so that forked workers are not charged three times for one interpreter. What the kernel keeps for a
socket (about 4 KB) is in none of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType

import psutil

from perf.contenders.contender import Program, Unavailable

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
_POLL_S = 0.02
_LOG_TAIL_LINES = 15
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessTree:
    """`with ProcessTree(programs, folder, cores) as tree:` starts them; leaving the block ends all of them for good.

    `cores` are those that they may run on. `folder` gets a log for each program. `adopted` are weighed with the rest,
    and neither moved nor ended: somebody else has started them.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        folder: Path,
        cores: Collection[int],
        environ: Mapping[str, str],
        adopted: Sequence[int] = (),
    ) -> None:
        self._programs = programs
        self._adopted = adopted
        self._folder = folder
        self._cores = cores
        self._environ = environ
        self._started: list[tuple[Program, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> ProcessTree:
        try:
            for program in self._programs:
                self._start(program)
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def wait_until(self, ready: Callable[[], bool]) -> float:
        """Seconds until it was. Raises `Unavailable` with the end of a log when that does not come."""
        started = time.monotonic()
        while time.monotonic() - started < READY_WITHIN_S:
            if ready():
                return time.monotonic() - started
            for program, process in self._started:
                if process.poll() is not None:
                    raise Unavailable(
                        f"{program.name} ended with code {process.returncode}:\n{self._log_tail(program)}"
                    )
            time.sleep(_POLL_S)
        logs = "\n".join(f"{program.name}:\n{self._log_tail(program)}" for program in self._programs)
        raise Unavailable(f"not ready within {READY_WITHIN_S:.0f} s:\n{logs}")

    def cpu_s(self) -> float:
        """CPU since the start, user and system, of the whole tree; of processes that have ended too."""
        return sum(map(_cpu_s, self._pids()))

    def cpu_s_by_program(self) -> dict[str, float]:
        """The same of each program with its children, by its name."""
        return {program.name: sum(map(_cpu_s, _family(process.pid))) for program, process in self._started}

    def pss_bytes(self) -> int:
        """Memory of the whole tree now."""
        return sum(map(_pss_bytes, self._pids()))

    def stop(self) -> float | None:
        """Tells the programs to end, last first, each when the one before has ended; those of one kind ("edge-1",
        "edge-2") together. Seconds until all have, None when one did not. Blocks."""
        started = time.monotonic()
        for _, members in groupby(reversed(self._started), key=lambda one: one[0].name.rstrip("-0123456789")):
            group = list(members)
            for program, process in group:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, program.stop_signal)
            for _, process in group:
                try:
                    process.wait(max(0.1, started + STOP_WITHIN_S - time.monotonic()))
                except subprocess.TimeoutExpired:
                    return None
        return time.monotonic() - started

    def _start(self, program: Program) -> None:
        with (self._folder / f"{program.name}.log").open("wb") as log, running_on(self._cores):
            process = subprocess.Popen(
                program.command,
                cwd=program.folder,
                env={**self._environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append((program, process))

    def _pids(self) -> list[int]:
        roots = (*self._adopted, *(process.pid for _, process in self._started))
        return [pid for root in roots for pid in _family(root)]

    def _kill(self) -> None:
        for _, process in reversed(self._started):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _log_tail(self, program: Program) -> str:
        text = (self._folder / f"{program.name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:]) or "(its log is empty)"


@contextlib.contextmanager
def running_on(cores: Collection[int]) -> Iterator[None]:
    """What this thread starts meanwhile runs on these cores only, from its first instruction on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _family(pid: int) -> list[int]:
    """A process and all of its descendants; none when it is gone."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]
    return []


def _cpu_s(pid: int) -> float:
    """Of a process and of those children of it that have ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_S
    return 0.0


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
