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
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector as Original

from services.chassis.process import resources
from services.chassis.process.resources import OwnProcess, ProcessCollector

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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="prometheus-client has them on Linux only")
def test_metrics_are_those_that_dashboards_know() -> None:
    def described(collector: Original | ProcessCollector) -> dict[str, tuple[str, str]]:
        return {metric.name: (metric.type, metric.documentation) for metric in collector.collect()}

    assert described(ProcessCollector(OwnProcess())) == described(Original(registry=None))


def test_metrics_carry_the_figures() -> None:
    registry, process = CollectorRegistry(), OwnProcess()
    registry.register(ProcessCollector(process))
    with more_descriptors():
        assert registry.get_sample_value("process_open_fds") == process.usage().open_fds
    assert registry.get_sample_value("process_start_time_seconds") == process.started_at
    assert (registry.get_sample_value("process_cpu_seconds_total") or 0) > 0


def test_a_service_takes_the_descriptors_that_the_hard_limit_allows() -> None:
    """In a process of its own: a hard limit that was lowered stays so."""
    code = (
        "import resource; from services.chassis.process.resources import raise_descriptor_limit;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512)); raise_descriptor_limit();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "(512, 512)", done.stderr
