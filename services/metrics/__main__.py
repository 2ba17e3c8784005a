"""`python -m services.metrics`: reads the settings and serves until SIGTERM."""

from __future__ import annotations

import os

from services.chassis.process.launch import before_imports, settings_of
from services.metrics.settings import from_environ


def main() -> None:
    """Runs the service until a signal."""
    settings = settings_of("metrics", from_environ, os.environ)
    before_imports()
    from services.metrics.app import serve  # after the settings: so that a mistake in them is reported at once

    serve(settings)


if __name__ == "__main__":
    main()
