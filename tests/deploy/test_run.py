"""A command of a service has the settings that the local stack gives the service."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.local import record, secrets_file
from deploy.local.configuration import MARK
from deploy.local.run import command, run
from deploy.local.settings import Folders, LocalStackError, plan_from


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.run.mkdir(parents=True)
    secrets_file.ensure(made.secrets)
    record.write_plan(made, plan_from({"EDGES": "3", "EDGE_PORT": "9101", "NATS_PORT": "9222"}))
    return made


@pytest.mark.parametrize(
    ("service", "module", "name", "port"),
    [
        ("edge", "services.edge", "edge-1", "9101"),
        ("edge-3", "services.edge", "edge-3", "9103"),
        ("sessions", "services.sessions", None, None),
    ],
)
def test_it_reads_what_the_service_reads(
    folders: Folders, service: str, module: str, name: str | None, port: str | None
) -> None:
    line, variables = command(service, ["check"], folders, {"HOME": "/"})
    assert line == [sys.executable, "-m", module, "check"]
    assert (variables.get("FAIRLEAD_EDGE_NAME"), variables.get("FAIRLEAD_EDGE_PORT")) == (name, port)
    assert variables["FAIRLEAD_NATS_URL"].endswith(":9222")
    secrets = secrets_file.read(folders.secrets)
    assert secrets[secrets_file.POSTGRES_PASSWORD] in variables["FAIRLEAD_POSTGRES_URL"]
    assert variables[secrets_file.API_KEY] == secrets[secrets_file.API_KEY]
    assert MARK not in variables, "make down would stop it"


def test_it_has_the_settings_with_which_the_stack_was_started(folders: Folders) -> None:
    shell = {"FAIRLEAD_OUTBOX_URL": "postgresql://x", "FAIRLEAD_LOG_LEVEL": "debug", "OTHER": "1"}
    record.write_given(folders, shell)
    (written,) = (path for path in folders.run.iterdir() if "postgresql://x" in path.read_text())
    assert written.stat().st_mode & 0o777 == 0o600
    _, variables = command("sessions", ["outbox", "list"], folders, {"FAIRLEAD_LOG_LEVEL": "error"})
    assert variables["FAIRLEAD_OUTBOX_URL"] == "postgresql://x" and "OTHER" not in variables
    assert variables["FAIRLEAD_LOG_LEVEL"] == "error", "the shell's wins"
    _, variables = command("sessions", ["outbox", "list"], folders, {"FAIRLEAD_OUTBOX_URL_FILE": "/etc/url"})
    assert "FAIRLEAD_OUTBOX_URL" not in variables, "both would be refused"
    record.remove(folders)
    assert not written.exists()


def test_a_file_with_a_secret_that_the_stack_has_of_its_own_is_left_out(folders: Folders) -> None:
    shell = {f"{secrets_file.API_KEY}_FILE": "/etc/key", "FAIRLEAD_LOG_LEVEL": "debug"}
    _, variables = command("edge", ["check"], folders, shell)
    assert f"{secrets_file.API_KEY}_FILE" not in variables and variables["FAIRLEAD_LOG_LEVEL"] == "debug"


@pytest.mark.parametrize(
    ("service", "arguments", "why"),
    [
        ("edge-4", ["check"], "edge-3"),
        ("postgres", ["check"], "expected a service (edge, sessions, metrics, edge-1, edge-2, edge-3), got 'postgres'"),
        ("sessions", [], "expected a command after sessions, such as check; sessions --help lists them"),
    ],
)
def test_what_it_cannot_run_is_refused(folders: Folders, service: str, arguments: list[str], why: str) -> None:
    with pytest.raises(LocalStackError) as refused:
        command(service, arguments, folders, {})
    assert why in str(refused.value)


def test_before_the_first_start_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="run make up first"):
        run("sessions", ["check"], Folders(tmp_path), {})
