"""A checkout of a test's own, with a local stack on ports of its own: what `make up` does there stays there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from deploy.local import members, secrets_file
from deploy.local.settings import PORT_VARIABLES, Folders
from deploy.processes.ports import free_port
from tests.stack.fairlead import Fairlead

ROOT = Path(__file__).resolve().parents[2]
_TAKEN_ALONG = ("deploy", "proto", "services")
_EDGE_PORTS = 4


class Checkout:
    """A copy of the working tree that shares the installed packages with the original."""

    def __init__(self, root: Path, edges: int) -> None:
        self.root, self.edges = root, edges
        self.folders = Folders(root)
        root.mkdir()
        for name in _TAKEN_ALONG:
            shutil.copytree(ROOT / name, root / name)  # with the bytecode, which each process would make otherwise
        shutil.copy2(ROOT / "Makefile", root)
        (root / ".venv").symlink_to(Path(sys.prefix))
        self.ports = _free_ports()

    def replace(self, name: str, old: str, new: str) -> None:
        """Changes a text in a file of this copy, where it stands once."""
        path = self.root / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def append(self, name: str, text: str) -> None:
        """Adds a text to the end of a file of this copy."""
        with (self.root / name).open("a") as file:
            file.write(text)

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs `make TARGET`, without a terminal, with this checkout's ports unless `variables` has others."""
        values = {name: str(port) for name, port in self.ports.items()} | {"EDGES": str(self.edges)} | variables
        # -o: the packages are installed, and must not be installed again from this copy.
        argv = ["make", "--no-print-directory", "-o", ".venv/.installed", target]
        argv += [f"{name}={value}" for name, value in values.items()]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(argv, cwd=self.root, env=clean, capture_output=True, text=True, timeout=150)

    def up(self) -> Fairlead:
        done = self.make("up")
        assert done.returncode == 0, done.stdout + done.stderr
        return self.fairlead()

    def fairlead(self) -> Fairlead:
        secrets = secrets_file.read(self.folders.secrets)
        ports = self.ports["PORT"], self.ports["SOCKETS_PORT"]
        return Fairlead(*ports, secrets[secrets_file.TOKEN_KEY], secrets[secrets_file.API_KEY])

    def running(self) -> list[str]:
        """The names of this stack's processes."""
        return sorted(member.name for member in members.scan(self.folders))

    def supervisord(self) -> psutil.Process:
        daemon = members.supervisord(self.folders)
        assert daemon is not None
        return daemon.process

    def process(self, name: str) -> psutil.Process:
        return next(member.process for member in members.scan(self.folders) if member.name == name)


def _free_ports() -> dict[str, int]:
    """One for each variable; the first of a few in a row for those of the edges."""
    return {name: free_port(span=_EDGE_PORTS if name.startswith("EDGE_") else 1) for name in PORT_VARIABLES.values()}
