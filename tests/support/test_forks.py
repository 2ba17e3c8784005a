"""A service that a test starts by fork is the one that operators start: the same output, exit code and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.processes.ports import free_port
from deploy.processes.process import Process, Program, Started
from deploy.processes.readiness import http_status
from tests.support import forks

ROOT = Path(__file__).resolve().parents[2]
EDGE = (sys.executable, "-m", "services.edge")
WITHIN_S = 20


def environ(**settings: str) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}


VALID = environ(FAIRLEAD_EDGE_BROKER="memory", FAIRLEAD_CLIENT_INSECURE="true")
"""Of an edge that needs nothing else."""


@pytest.mark.parametrize(
    ("arguments", "settings", "code"),
    [
        (["check"], VALID, 0),
        (["check"], {**VALID, "FAIRLEAD_EDGE_PORT": "many"}, 1),
        ([], {**VALID, "FAIRLEAD_EDGE_PORT": "many"}, 1),
        (["--help"], environ(), 0),
        (["nonsense"], environ(), 2),
    ],
)
def test_a_command_says_and_returns_what_it_does_when_started_by_the_interpreter(arguments, settings, code):
    command = [*EDGE, *arguments]
    started = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=WITHIN_S)
    forked = forks.run(command, env=settings, timeout=WITHIN_S)
    assert (forked.returncode, forked.stdout, forked.stderr) == (code, started.stdout, started.stderr)


class ServedByFork:
    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.started: list[Started] = []
        self.process = Process(
            Program("edge", EDGE, {"FAIRLEAD_EDGE_PORT": str(self.port), **settings}, folder=folder),
            folder / "edge.log",
            environ=VALID,
            own_group=True,
            popen=self._popen,
        )

    def _popen(self, *arguments, **options):
        self.started.append(forks.popen(*arguments, **options))
        return self.started[-1]

    def serve(self) -> None:
        self.process.start()
        self.process.wait_until_ready(lambda: http_status(self.port, path="/readyz") == 200, WITHIN_S)


@pytest.fixture
def edge(tmp_path):
    made = ServedByFork(tmp_path)
    yield made
    made.process.kill()


def test_it_serves_in_its_folder_and_session_until_it_is_stopped(edge, tmp_path):
    edge.serve()
    assert not isinstance(edge.started[0], subprocess.Popen)
    assert Path(f"/proc/{edge.process.pid}/cwd").resolve() == tmp_path.resolve()
    assert os.getsid(edge.process.pid) == edge.process.pid
    assert edge.process.is_running
    assert edge.process.stop(WITHIN_S) == 0
    assert "ready" in edge.process.log_text()
    edge.serve()  # and again
    assert edge.process.stop(WITHIN_S) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_signal_that_ends_it_is_its_exit_code(edge, number):
    edge.serve()
    edge.process.send_signal(number)
    assert edge.process.wait(WITHIN_S) == -number
    edge.process.send_signal(number)  # to nobody


def test_two_serve_at_once_and_one_ends_alone(edge, tmp_path):
    (tmp_path / "other").mkdir()
    other = ServedByFork(tmp_path / "other")
    edge.serve()
    other.serve()
    edge.process.kill()
    assert edge.process.exit_code == -signal.SIGKILL
    assert other.process.is_running
    other.process.kill()


def test_the_fork_holds_no_descriptor_of_others(edge):
    edge.serve()
    held = [os.readlink(entry) for entry in Path(f"/proc/{edge.process.pid}/fd").iterdir() if int(entry.name) < 3]
    assert held.count(str(edge.process.log)) == 2
    others = [os.readlink(entry) for entry in Path(f"/proc/{edge.process.pid}/fd").iterdir()]
    assert not any("pidfd" in other for other in others)


def test_what_is_no_service_is_started_as_ever(tmp_path):
    with (tmp_path / "out").open("wb") as out:
        started = forks.popen([sys.executable, "-c", "print('here')"], env=environ(), stdout=out, stderr=out)
    assert isinstance(started, subprocess.Popen)
    assert started.wait(WITHIN_S) == 0
    assert (tmp_path / "out").read_text() == "here\n"


def test_perf_says_and_returns_what_it_does_when_started_by_the_interpreter():
    arguments = ("fanout", "--size", "1")
    command = [sys.executable, "-m", "perf", *arguments]
    started = subprocess.run(command, env=environ(), capture_output=True, text=True, timeout=WITHIN_S)
    forked = forks.run([sys.executable, "-m", "tests.perf.by_fork", *arguments], env=environ(), timeout=WITHIN_S)
    assert (forked.returncode, forked.stdout, forked.stderr) == (2, started.stdout, started.stderr)
