"""A tree of processes: measured with its children, stopped in order, and never left behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from deploy.processes.process import ProcessError, Program
from deploy.processes.process_tree import ProcessTree
from tests.support.eventually import wait_until

CORES = os.sched_getaffinity(0)
CHILD = "import time; memory = bytearray(b'x' * 30_000_000); print(1, flush=True); time.sleep(60)"
PARENT = """
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdout=subprocess.PIPE)
child.stdout.readline()
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""
RECORDER = """
import pathlib, signal, sys
def end(*_):
    with open(sys.argv[1], "a") as file: file.write(sys.argv[2] + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1] + sys.argv[2]).touch()
signal.pause()
"""


def python(name: str, code: str, *arguments: object) -> Program:
    return Program(name, [sys.executable, "-c", code, *map(str, arguments)])


def test_children_are_measured_and_ended_too(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    with ProcessTree([python("parent", PARENT, mark, CHILD)], tmp_path, CORES, os.environ) as tree:
        tree.wait_until_ready(lambda: mark.exists() and mark.read_text() != "")
        child = psutil.Process(int(mark.read_text()))
        assert tree.pss_bytes() > 30_000_000
        assert tree.cpu_s() > 0
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")


def test_the_last_one_is_stopped_first_and_those_of_a_kind_together(tmp_path: Path) -> None:
    record = tmp_path / "order"
    programs = [python(name, RECORDER, record, name) for name in ("redis", "edge-1", "edge-2", "proxy")]
    with ProcessTree(programs, tmp_path, CORES, os.environ) as tree:
        tree.wait_until_ready(lambda: all(Path(f"{record}{one.name}").exists() for one in programs))
        assert tree.stop() is not None
    order = record.read_text().split()
    assert (order[0], sorted(order[1:3]), order[3]) == ("proxy", ["edge-1", "edge-2"], "redis")


def test_a_program_that_ends_at_once_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    with (
        ProcessTree([python("broken", "raise SystemExit('no such port')")], tmp_path, CORES, os.environ) as tree,
        pytest.raises(ProcessError, match=r"(?s)broken ended with exit code 1.*no such port"),
    ):
        tree.wait_until_ready(lambda: False)


def test_programs_run_on_the_cores_that_were_named(tmp_path: Path) -> None:
    core = min(CORES)
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.sched_getaffinity(0)) + ' ')"
    mark = tmp_path / "cores"
    with ProcessTree([python("p", code, mark)], tmp_path, {core}, os.environ):
        wait_until(lambda: mark.exists() and mark.read_text() != "", "its cores")
    assert mark.read_text().strip() == str({core})
    assert os.sched_getaffinity(0) == CORES


def test_adopted_processes_are_measured_and_left_alone(tmp_path: Path) -> None:
    with ProcessTree([], tmp_path, CORES, os.environ, adopted=[os.getpid()]) as tree:
        assert tree.pss_bytes() > 1_000_000
        assert tree.stop() is not None
    assert psutil.Process().is_running()
