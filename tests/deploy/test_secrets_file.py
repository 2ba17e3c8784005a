"""Secrets are made once, kept, and readable only by their owner."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.local import secrets_file
from deploy.local.settings import LocalStackError


def test_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secrets.env"
    made = secrets_file.ensure(path)
    assert len(set(made.values())) == 3
    assert all(len(value) >= 32 for value in made.values())
    assert secrets_file.ensure(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_secrets_stay_and_missing_ones_are_added(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text(f"# mine\n{secrets_file.API_KEY}=my own key\nOTHER=kept\n")
    found = secrets_file.ensure(path)
    assert (found[secrets_file.API_KEY], found["OTHER"]) == ("my own key", "kept")
    assert secrets_file.read(path) == found
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["no equals sign", f"{secrets_file.API_KEY}="])
def test_a_line_without_a_value_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.env"
    path.write_text(f"# first\n{text}\n")
    with pytest.raises(LocalStackError, match=r"secrets\.env, line 2: expected NAME=value"):
        secrets_file.ensure(path)
