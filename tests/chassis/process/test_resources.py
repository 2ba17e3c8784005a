"""The figures of a process about itself: true, at a cost that does not grow with its connections."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.chassis.process import resources
from services.chassis.process.resources import OwnProcess

MORE = 50


@contextlib.contextmanager
def more_descriptors() -> Iterator[None]:
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(MORE)]
    try:
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize("folder", [resources._DESCRIPTORS, Path("/proc/does-not-exist"), Path("/proc/self/stat")])
def test_descriptors_are_counted_whatever_the_system_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.2 and later, another system, and an older Linux, where the size is 0."""
    monkeypatch.setattr(resources, "_DESCRIPTORS", folder)
    process = OwnProcess()
    before = process.usage().open_fds
    with more_descriptors():
        assert process.usage().open_fds == before + MORE
    assert process.usage().open_fds == before
    assert abs(before - psutil.Process().num_fds()) <= 1  # listing them takes one


def test_figures_are_those_of_this_process() -> None:
    process, other = OwnProcess(), psutil.Process()
    usage = process.usage()
    assert 0 < usage.cpu_s <= sum(other.cpu_times()[:2])
    assert 0.5 < usage.rss_bytes / other.memory_info().rss < 2
    assert usage.virtual_bytes >= usage.rss_bytes
    assert usage.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 0 < time.time() - process.started_at < 24 * 3600


def test_a_service_takes_the_descriptors_that_the_hard_limit_allows() -> None:
    """In a process of its own: a hard limit that was lowered stays so."""
    code = (
        "import resource; from services.chassis.process.resources import raise_descriptor_limit;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512)); raise_descriptor_limit();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "(512, 512)", done.stderr


def test_figures_are_there_without_a_descriptor_to_read_them_with() -> None:
    """In a process of its own, which uses up all that it may have."""
    code = (
        "import os, resource\n"
        "from services.chassis.process.memory import resident_bytes\n"
        "from services.chassis.process.resources import OwnProcess\n"
        "own, before = OwnProcess(), resident_bytes()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open(os.devnull, os.O_RDONLY))\n"
        "except OSError: pass\n"
        "usage = own.usage()\n"
        "print(usage.rss_bytes > 0, usage.open_fds >= 60, resident_bytes() >= before > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "True True True", done.stderr
