"""How much memory a process may take, by control groups of both versions, and that it gives back what it has freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.chassis.process import memory

PHYSICAL = psutil.virtual_memory().total
UNLIMITED_V1 = "9223372036854771712\n"


def tree(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/memory.max": "536870912\n"}, 536870912),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, PHYSICAL),
        (
            "0::/system.slice/edge.service\n",
            {
                "sys/fs/cgroup/memory.max": "400000000\n",
                "sys/fs/cgroup/system.slice/memory.max": "300000000\n",
                "sys/fs/cgroup/system.slice/edge.service/memory.max": "max\n",
            },
            300000000,
        ),
        (
            "5:cpu,memory:/docker/1a2b\n0::/\n",
            {"sys/fs/cgroup/memory/docker/1a2b/memory.limit_in_bytes": "200000000\n"},
            200000000,
        ),
        ("4:memory:/of/the/host\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "100000000\n"}, 100000000),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1}, PHYSICAL),
        (
            "4:memory:/../..\n",
            {"sys/fs/memory.limit_in_bytes": "1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "50000000\n"},
            50000000,
        ),
        ("0::/\n", {}, PHYSICAL),
    ],
    ids=["v2", "v2 without", "v2 of a slice", "v1", "v1 in a container", "v1 without", "outside", "none"],
)
def test_the_least_limit_counts(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert memory.available_bytes(tree(tmp_path, groups, files)) == expected


def test_without_control_groups_it_is_physical_memory(tmp_path: Path) -> None:
    assert memory.available_bytes(tmp_path) == PHYSICAL
    assert 0 < memory.available_bytes() <= PHYSICAL


def test_resident_memory_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = psutil.Process().memory_info().rss
    assert 0.5 < memory.resident_bytes() / expected < 2
    monkeypatch.setattr(memory, "_STATM", Path("/proc/does-not-exist"))
    assert 0.5 < memory.resident_bytes() / expected < 2


@pytest.mark.skipif(memory._trim() is None, reason="the C library keeps what was freed")
def test_what_was_freed_is_given_back() -> None:
    """In a process of its own. Every other block stays, so that the heap cannot just shrink at its end."""
    code = (
        "from services.chassis.process.memory import give_back, resident_bytes;"
        "blocks = [bytes(64 * 1024) for _ in range(2000)]; del blocks[1::2], blocks[:-1];"
        "before = resident_bytes(); give_back(); print(before - resident_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert int(done.stdout) > 50_000_000, done.stderr
