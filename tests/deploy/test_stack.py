"""`make up` notices that the stack was stopped elsewhere, that it runs already, and what would change nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import __main__ as local
from deploy.local.configuration import MARK
from deploy.local.settings import ROOT, Folders, LocalStackError, plan_from
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


@pytest.mark.usefixtures("supervisord")
def test_a_second_up_says_how_to_have_other_settings(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "Folders", lambda: folders)
    assert local.main(["up"], {"FAIRLEAD_LIMITS_PUBLISHES": "3/10s"}) == 0
    assert "already running here. For other settings: make down first." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FAIRLEAD_CONFIG", "/my/file.toml", "make up reads deploy/local/fairlead.toml. Edit that file"),
        ("FAIRLEAD_EDGE_PORT", "9999", "Write EDGE_PORT=9999"),
        ("FAIRLEAD_EDGE_CLIENT_PORT", "9999", "Write EDGE_CLIENT_PORT=9999"),
        ("FAIRLEAD_SESSIONS_PORT", "9999", "Write SESSIONS_PORT=9999"),
        ("FAIRLEAD_METRICS_PORT", "9999", "Write METRICS_PORT=9999"),
    ],
)
def test_a_variable_of_a_service_that_would_change_nothing_is_refused(variable: str, value: str, said: str) -> None:
    with pytest.raises(LocalStackError) as caught:
        plan_from({variable: value})
    assert str(caught.value).startswith(f"{variable}={value}: make up ") and said in str(caught.value)


def test_the_stack_s_own_file_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert plan_from({"FAIRLEAD_CONFIG": "deploy/local/fairlead.toml"}) == plan_from({"FAIRLEAD_CONFIG": ""})
