"""Removes containers in the background: hundreds of databases are hundreds of thousands of files, and take a minute."""

from __future__ import annotations

import subprocess
import time


class Removals:
    """The removals that were begun. They continue when the tests have ended, however they end."""

    def __init__(self) -> None:
        self._begun: dict[str, subprocess.Popen[str]] = {}

    def begin(self, container: str) -> None:
        """Removes the container of this id, with its volumes."""
        self._begun[container] = subprocess.Popen(
            ["docker", "rm", "--force", "--volumes", container],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests
        )

    def not_done(self, within_s: float) -> list[str]:
        """Waits for all, at most so long. Returns which have failed, and why, and which still run."""
        until = time.monotonic() + within_s
        told = []
        for container, removal in self._begun.items():
            try:
                _, why = removal.communicate(timeout=max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                told.append(f"{container}: still being removed")
                continue
            if removal.returncode:
                told.append(f"{container}: {why.strip() or f'docker rm ended with {removal.returncode}'}")
        return told
