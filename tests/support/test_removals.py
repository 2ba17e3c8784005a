"""Removals in the background, with a program in place of Docker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.removals import Removals

DOCKER = """#!/bin/sh
[ "$1 $2 $3" = "rm --force --volumes" ] || exit 2
case $4 in
slow) read -r line <"$FIFO" ;;
busy) echo "Error response from daemon: device or resource busy" >&2; exit 1 ;;
esac
"""


def test_a_removal_that_fails_is_told_with_its_reason_and_one_that_takes_long_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FIFO", str(tmp_path / "fifo"))
    removals = Removals()
    for container in ("quick", "busy"):
        removals.begin(container)
    busy = "busy: Error response from daemon: device or resource busy"
    assert removals.not_done(within_s=30) == [busy]
    removals.begin("slow")
    assert removals.not_done(within_s=0) == [busy, "slow: still being removed"]
    (tmp_path / "fifo").write_text("go on\n")
    assert removals.not_done(within_s=30) == [busy]
