"""`python -m services.metrics` serves until SIGTERM. `--help` lists what else it does."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Callable

from services.chassis.process.launch import Command, Service
from services.metrics.settings import MetricsSettings, cautions, from_environ


def _serve(settings: MetricsSettings, read: Callable[[], MetricsSettings]) -> None:
    from services.metrics.app import serve  # after the settings, so that a mistake in them is reported at once

    serve(settings, read)


def _migrate(settings: MetricsSettings, asked: Namespace) -> None:
    from services.chassis.postgres.errors import SchemaRefused, StoreAway
    from services.metrics.schema_postgres import SCHEMA

    if not settings.postgres.url:
        sys.exit("fairlead-metrics: postgres.url is not set: there is no history to migrate")
    try:
        asyncio.run(SCHEMA.migrate(settings.postgres.url))
    except (StoreAway, SchemaRefused) as error:
        sys.exit(f"fairlead-metrics: {error}")


COMMANDS = {"migrate": Command("update the tables in PostgreSQL", _migrate, is_logged=True)}
SERVICE = Service("metrics", from_environ, _serve, cautions, COMMANDS)


def main() -> None:
    """Runs the service until a signal, or does what the arguments ask for."""
    SERVICE.main(sys.argv[1:], os.environ)


if __name__ == "__main__":
    main()
