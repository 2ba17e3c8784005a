"""The kernel's memory for connections, which belongs to no process. It is measured for the whole machine; Linux
only."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class KernelMemory(msgspec.Struct, frozen=True):
    """Bytes at one moment; only the difference between two moments is of use.

    `slab` is all of the kernel's small objects: sockets, descriptors, and everything unrelated. `tcp_buffers` is what
    waits in sockets. If both processes are on this machine, both figures include both ends of each connection.
    """

    slab: int
    tcp_buffers: int


def now() -> KernelMemory:
    """Zeros on other systems than Linux."""
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
