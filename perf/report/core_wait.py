"""How long a process had to wait for a core: what a busy machine adds to each of its answers."""

from __future__ import annotations

import contextlib
from pathlib import Path


def core_wait_s(pid: int) -> float:
    """For how many seconds, since its start, its main thread was ready to run but did not run. 0.0 if the kernel does
    not report it."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0
