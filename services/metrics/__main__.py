"""`python -m services.metrics` serves until SIGTERM; `python -m services.metrics migrate` updates the tables."""

from __future__ import annotations

import asyncio
import os
import sys

from services.chassis.process.launch import before_imports, settings_of
from services.metrics.settings import MetricsSettings, from_environ


def main() -> None:
    """Runs the service until a signal, or migrates the database."""
    arguments = sys.argv[1:]
    if arguments not in ([], ["migrate"]):
        sys.exit("usage: python -m services.metrics [migrate]")
    settings = settings_of("metrics", from_environ, os.environ)
    if arguments:
        _migrate(settings)
        return
    before_imports()
    from services.metrics.app import serve  # after the settings: so that a mistake in them is reported at once

    serve(settings)


def _migrate(settings: MetricsSettings) -> None:
    from services.chassis.postgres.errors import SchemaRefused, StoreAway
    from services.metrics.schema_postgres import SCHEMA

    if not settings.postgres.url:
        sys.exit("fairlead-metrics: postgres.url is not set: there is no history to migrate")
    try:
        asyncio.run(SCHEMA.migrate(settings.postgres.url))
    except (StoreAway, SchemaRefused) as error:
        sys.exit(f"fairlead-metrics: {error}")


if __name__ == "__main__":
    main()
