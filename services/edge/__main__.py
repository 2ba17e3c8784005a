"""`python -m services.edge`: reads the settings and serves until SIGTERM. `--help` lists what else it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from services.chassis.process.launch import Service
from services.edge.commands import COMMANDS
from services.edge.configuration import from_environ
from services.edge.moving.command import TOOLS
from services.edge.settings import EdgeSettings


def _serve(settings: EdgeSettings, read: Callable[[], EdgeSettings]) -> None:
    from services.edge.app import serve  # after the settings, so that a mistake in them is reported at once

    serve(settings, read)


def _cautions(settings: EdgeSettings) -> list[str]:
    from services.edge.cautions import cautions

    return list(cautions(settings))


SERVICE = Service("edge", from_environ, _serve, _cautions, COMMANDS, TOOLS)


def main() -> None:
    """Runs the edge until a signal, or does what the arguments ask for."""
    SERVICE.main(sys.argv[1:], os.environ)


if __name__ == "__main__":
    main()
