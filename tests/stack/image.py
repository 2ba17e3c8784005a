"""The images of the services and of Traefik, as their tests build them."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from tests.stack.checkout import ROOT

IMAGE: Final = "fairlead:test"
TRAEFIK_IMAGE: Final = "fairlead-traefik:test"


def build(name: str = IMAGE, *options: str) -> str:
    """Builds an image of this checkout, and returns its name."""
    arguments = [f"--build-arg={name}" for name in ("PIP_INDEX_URL", "PIP_TRUSTED_HOST") if os.environ.get(name)]
    command = ["docker", "build", "--quiet", "--file", "deploy/Dockerfile", "--tag", name, *options]
    command += [*arguments, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return name
