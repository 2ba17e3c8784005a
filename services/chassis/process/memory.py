"""The memory of a process: how much it may use, how much it uses, and how it gives back what it no longer needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import psutil

_PAGE: Final = os.sysconf("SC_PAGESIZE")
_STATM: Final = "/proc/self/statm"


def resident_bytes() -> int:
    """The resident memory of this process (RSS). Takes 2 us and opens no descriptor: it works even when none is
    left."""
    statm = _statm()
    if statm is None:  # not Linux
        return int(psutil.Process().memory_info().rss)
    return int(os.pread(statm, 256, 0).split()[1]) * _PAGE


@cache
def _statm() -> int | None:
    """The descriptor of the file with the figures, which stays open."""
    try:
        return os.open(_STATM, os.O_RDONLY)
    except OSError:
        return None


def available_bytes(root: Path = Path("/")) -> int:
    """The lowest of the limits on this process: those of its control groups (version 1 or 2), and physical memory.

    `root` is where `/proc` and `/sys` are.
    """
    limits = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                limits += _limits(root / "sys/fs/cgroup", path, "memory.max")
            elif "memory" in controllers.split(","):
                limits += _limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits(mount: Path, path: str, name: str) -> list[int]:
    """The limits of a control group and of all above it. In a container the path may be the host's, and the mount the
    container's own."""
    found = []
    group = mount if ".." in path else mount / path.lstrip("/")
    for folder in (group, *group.parents):
        if folder == mount or mount in folder.parents:
            with contextlib.suppress(OSError, ValueError):  # no such file; or "max": no limit
                found.append(int((folder / name).read_text()))
    return found


def give_back() -> None:
    """Gives memory that the process has freed back to the system, if the C library can do so (glibc).

    Otherwise the library keeps it: after 4,000 clients have left, two thirds of what they used.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    import ctypes  # slow to import, and needed only when memory is short

    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
