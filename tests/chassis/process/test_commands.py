"""What `python -m services.NAME COMMAND` does: `check`, `--help`, and unknown commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECRET = "a-secret-of-the-tests-that-is-long-enough"
SERVICES = ("edge", "sessions", "metrics")


def said(service: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/",
    )


@pytest.mark.parametrize("service", SERVICES)
def test_check_says_where_a_valid_configuration_comes_from_and_no_secret(service: str, tmp_path: Path) -> None:
    file = tmp_path / "fairlead.toml"
    file.write_text("[edge]\n[sessions]\n[metrics]\nport = 8302\n")
    checked = said(
        service,
        "check",
        FAIRLEAD_CONFIG=str(file),
        FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY=SECRET,
        FAIRLEAD_POSTGRES_URL=f"postgresql://fairlead:{SECRET}@127.0.0.1/none",
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    first, *lines = checked.stdout.splitlines()
    assert first.endswith("is valid")
    assert f"  file: {file}" in lines
    assert f"  sections: {service}" in lines
    assert SECRET not in checked.stdout


def test_check_repeats_what_the_start_warns_of() -> None:
    edge = said("edge", "check", FAIRLEAD_CLIENT_INSECURE="true")
    assert edge.returncode == 0
    assert "  caution: client.insecure = true: ANYBODY may connect" in edge.stdout
    sessions = said("sessions", "check", FAIRLEAD_POSTGRES_URL="postgresql://127.0.0.1/none")
    assert "  caution: http_api.key is not set" in sessions.stdout


def test_check_warns_of_a_variable_that_hides_a_secret_of_the_file(tmp_path: Path) -> None:
    """As in containers, whose variables would make every token and key of an imported file invalid."""
    file, key = tmp_path / "fairlead.toml", tmp_path / "key"
    key.write_text("the key of the file")
    file.write_text(f'[client]\ntoken_hmac_secret_key = "{SECRET}"\n[http_api]\nkey_file = "{key}"\n')
    given = {"FAIRLEAD_CONFIG": str(file), "FAIRLEAD_HTTP_API_KEY": "another key"}
    hidden = said("edge", "check", **given, FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY=f"{SECRET}!")
    assert hidden.returncode == 0
    for variable, option in (
        ("FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY", "client.token_hmac_secret_key"),
        ("FAIRLEAD_HTTP_API_KEY", "http_api.key_file"),
    ):
        assert f"  caution: {variable} wins over {option} of {file}, which has no effect" in hidden.stdout
    assert SECRET not in hidden.stdout and "another key" not in hidden.stdout
    same = said("edge", "check", **given, FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY=SECRET)
    assert "wins over http_api" in same.stdout and "wins over client" not in same.stdout, "the same secret hides none"


@pytest.mark.parametrize("service", SERVICES)
def test_check_says_what_is_wrong_and_fails(service: str) -> None:
    checked = said(service, "check", FAIRLEAD_LOG_LEVEL="loud", FAIRLEAD_CLIENT_INSECURE="1", FAIRLEAD_POSTGRES_URL="")
    assert (checked.returncode, checked.stdout) == (1, "")
    assert 'expected log.level "debug", "info", "warning" or "error"' in checked.stderr
    assert "Traceback" not in checked.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_help_lists_the_commands_and_needs_no_configuration(service: str) -> None:
    helped = said(service, "--help", FAIRLEAD_CONFIG="/nowhere")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "check" in helped.stdout
    assert ("migrate" in helped.stdout) == (service != "edge")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("argument", ["chekc", "--chekc"])
def test_what_is_no_command_is_an_error_of_usage(service: str, argument: str) -> None:
    refused = said(service, argument, FAIRLEAD_CONFIG="/nowhere")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert argument in refused.stderr
