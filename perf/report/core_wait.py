"""How long a process had to wait for a core: what a busy machine adds to each of its answers."""

from __future__ import annotations

import contextlib
from pathlib import Path


def core_wait_s(pid: int) -> float:
    """Seconds that its main thread was ready to run and did not, since its start. 0.0 where the kernel does not say."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0
