"""What the kernel keeps for connections, which is in no process's memory. Of the whole machine, and Linux only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KernelMemory:
    """Bytes. `slab` is all that the kernel has in small objects: sockets, descriptors, and what has nothing to do with
    them. `tcp_buffers` is what waits in sockets. Differences of two moments are of use; between processes of one
    machine they hold both ends of each connection."""

    slab: int
    tcp_buffers: int


def now() -> KernelMemory:
    """Zeros on another system than Linux."""
    try:
        meminfo, sockstat = Path("/proc/meminfo").read_text(), Path("/proc/net/sockstat").read_text()
    except OSError:
        return KernelMemory(0, 0)
    return parsed(meminfo, sockstat, os.sysconf("SC_PAGE_SIZE"))


def parsed(meminfo: str, sockstat: str, page_bytes: int) -> KernelMemory:
    return KernelMemory(_after(meminfo, "Slab:") * 1024, _after(_line(sockstat, "TCP:"), "mem") * page_bytes)


def _line(text: str, start: str) -> str:
    return next((line for line in text.splitlines() if line.startswith(start)), "")


def _after(text: str, word: str) -> int:
    words = text.split()
    return int(words[words.index(word) + 1]) if word in words else 0
