"""Several programs as one system, with all of their children: started in order, measured, and stopped in reverse.

Linux only: CPU time and memory are read from /proc. Memory is PSS, in which a page that is shared by three processes
counts as a third for each, so that three forked workers do not count the same interpreter three times. The kernel's
memory for sockets (about 4 KB each) is not included.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType

import psutil

from deploy.processes.process import Process, ProcessError, Program

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
_POLL_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessTree:
    """`with ProcessTree(programs, folder, cores, environ) as tree:` starts them; leaving the block kills all of them.

    They run on `cores`. `folder` gets a log for each program. `adopted` processes are measured with the rest, but
    neither moved nor stopped, as somebody else has started them.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        folder: Path,
        cores: Collection[int],
        environ: Mapping[str, str],
        adopted: Sequence[int] = (),
    ) -> None:
        self._processes = [
            Process(program, folder / f"{program.name}.log", environ=environ, own_group=True) for program in programs
        ]
        self._cores = cores
        self._adopted = adopted

    def __enter__(self) -> ProcessTree:
        try:
            with running_on(self._cores):
                for process in self._processes:
                    process.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def wait_until_ready(self, is_ready: Callable[[], bool]) -> float:
        """Blocks until `is_ready()`; returns the seconds that it took. Raises `ProcessError` with the end of a log."""
        started = time.monotonic()
        while not is_ready():
            for process in self._processes:
                if not process.is_running:
                    raise process.early_end()
            if time.monotonic() - started > READY_WITHIN_S:
                logs = "\n".join(f"{process.name}: {process.last_words()}" for process in self._processes)
                raise ProcessError(f"not ready within {READY_WITHIN_S:.0f} s\n{logs}")
            time.sleep(_POLL_S)
        return time.monotonic() - started

    def cpu_s(self) -> float:
        """CPU time since the start, user and system, of the whole tree, including processes that have ended."""
        return sum(map(_cpu_s, self._pids()))

    def cpu_s_by_program(self) -> dict[str, float]:
        """CPU time for each program with its children, by the program's name."""
        return {process.name: sum(map(_cpu_s, family(process.pid))) for process in self._processes}

    def pss_bytes(self) -> int:
        """Memory of the whole tree now."""
        return sum(memory_bytes(pid, "Pss") for pid in self._pids())

    def stop(self) -> float | None:
        """Stops the programs, the last one first, each when the one before has ended; programs of the same kind
        ("edge-1", "edge-2") together. Blocks; returns the seconds until all had ended, None if one did not."""
        started = time.monotonic()
        for _, members in groupby(reversed(self._processes), key=lambda one: one.name.rstrip("-0123456789")):
            group = list(members)
            for process in group:
                process.send_signal(process.program.stop_signal)
            for process in group:
                if process.wait(max(0.1, started + STOP_WITHIN_S - time.monotonic())) is None:
                    return None
        return time.monotonic() - started

    def _pids(self) -> list[int]:
        roots = (*self._adopted, *(process.pid for process in self._processes))
        return [pid for root in roots for pid in family(root)]

    def _kill(self) -> None:
        for process in reversed(self._processes):
            process.kill()


@contextlib.contextmanager
def running_on(cores: Collection[int]) -> Iterator[None]:
    """Processes that this thread starts inside the block run only on these cores, from their first instruction on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """The process ids of a process and all of its descendants; none when it is gone."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]
    return []


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process and all of its descendants, including children that have ended."""
    return sum(map(_cpu_s, family(pid)))


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process, and of its children that have ended and were waited for."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_S
    return 0.0


def memory_bytes(pid: int, field: str) -> int:
    """One line of the process's memory summary (smaps_rollup), such as "Pss_Anon"; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0
