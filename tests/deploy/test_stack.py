"""`make up` notices that the stack was stopped elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.configuration import MARK
from deploy.local.settings import Folders
from deploy.local.stack import Stack
from tests.support.eventually import wait_until


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.run.mkdir(parents=True)
    return made


@pytest.fixture
def supervisord(folders: Folders) -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process that has the mark and the process id of this checkout's supervisord."""
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        program, env={MARK: str(folders.state)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (folders.run / "supervisord.pid").write_text(str(process.pid))
        yield process


def test_a_stack_is_not_alive_once_its_supervisord_has_ended_though_its_parent_has_not_waited_for_it(
    folders: Folders, supervisord: subprocess.Popen[bytes]
) -> None:
    alive = Stack(folders, print).alive()
    assert alive()

    supervisord.kill()

    wait_until(lambda: not alive(), "the end of the stack")
    assert supervisord.returncode is None, "nobody has waited for it"


def test_a_stack_that_was_not_started_is_not_alive(folders: Folders) -> None:
    assert not Stack(folders, print).alive()()
