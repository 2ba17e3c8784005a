"""The kernel's memory is read from its own accounts; other systems than Linux have none."""

from __future__ import annotations

from perf.report import kernel_memory
from perf.report.kernel_memory import KernelMemory


def test_slab_and_socket_buffers_are_read_in_bytes() -> None:
    meminfo = "MemTotal:       24000000 kB\nSlab:             435892 kB\nSUnreclaim:        91000 kB\n"
    sockstat = "sockets: used 32\nTCP: inuse 13 orphan 0 tw 759 alloc 13 mem 245\nUDP: inuse 0 mem 7\n"
    assert kernel_memory.parsed(meminfo, sockstat, 4096) == KernelMemory(435_892 * 1024, 245 * 4096)
    assert kernel_memory.parsed("", "", 4096) == KernelMemory(0, 0)
