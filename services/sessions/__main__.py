"""`python -m services.sessions` serves until SIGTERM; `python -m services.sessions migrate` updates the tables."""

from __future__ import annotations

import asyncio
import os
import sys

from services.chassis.process.launch import before_imports, settings_of
from services.sessions.settings import SessionsSettings, from_environ


def main() -> None:
    """Runs the service until a signal, or migrates the database."""
    arguments = sys.argv[1:]
    if arguments not in ([], ["migrate"]):
        sys.exit("usage: python -m services.sessions [migrate]")
    settings = settings_of("sessions", from_environ, os.environ)
    if arguments:
        _migrate(settings)
        return
    before_imports()
    from services.sessions.app import serve  # after the settings: so that a mistake in them is reported at once

    serve(settings)


def _migrate(settings: SessionsSettings) -> None:
    from services.chassis.postgres.errors import SchemaRefused, StoreAway
    from services.sessions.schema_postgres import SCHEMA

    try:
        asyncio.run(SCHEMA.migrate(settings.postgres.url))
    except (StoreAway, SchemaRefused) as error:
        sys.exit(f"fairlead-sessions: {error}")


if __name__ == "__main__":
    main()
