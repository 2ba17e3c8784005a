"""`python -m services.metrics`: reads the settings and serves until SIGTERM."""

from __future__ import annotations

import os
import sys

from services.chassis.log import configure
from services.chassis.settings import ConfigurationError
from services.metrics.settings import from_environ


def main() -> None:
    try:
        settings = from_environ(os.environ)
    except ConfigurationError as error:
        sys.exit(f"fairlead-metrics: {error}")
    configure(settings.log, settings.name)
    from services.metrics.app import serve  # after the settings: a mistake in them is told at once

    serve(settings)


if __name__ == "__main__":
    main()
