"""`python -m services.sessions` serves until SIGTERM. `--help` lists what else it does."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Callable

from services.chassis.process.launch import Command, Service
from services.sessions.dead_letters_arguments import describe
from services.sessions.outbox.arguments import describe as describe_outbox
from services.sessions.settings import SessionsSettings, cautions, from_environ
from services.sessions.webhooks.letters_arguments import describe_letters


def _serve(settings: SessionsSettings, read: Callable[[], SessionsSettings]) -> None:
    from services.sessions.app import serve  # after the settings: so that a mistake in them is reported at once

    serve(settings, read)


def _migrate(settings: SessionsSettings, asked: Namespace) -> None:
    from services.chassis.postgres.errors import SchemaRefused, StoreAway
    from services.sessions.schema_postgres import SCHEMA

    try:
        asyncio.run(SCHEMA.migrate(settings.postgres.url))
    except (StoreAway, SchemaRefused) as error:
        sys.exit(f"fairlead-sessions: {error}")


def _dead_letters(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.dead_letters_command import run

    run(settings, asked)


def _webhook_dead_letters(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.webhooks.letters_command import run

    run(settings, asked)


def _outbox(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.outbox.command import run

    run(settings, asked)


COMMANDS = {
    "migrate": Command("update the tables in PostgreSQL", _migrate),
    "outbox": Command("list, show, replay or delete rows of the outbox; its SQL", _outbox, describe_outbox),
    "dead-letters": Command("list, show, replay or delete what could not be folded", _dead_letters, describe),
    "webhook-dead-letters": Command(
        "list, show, replay or delete what webhooks did not take", _webhook_dead_letters, describe_letters
    ),
}
SERVICE = Service("sessions", from_environ, _serve, cautions, COMMANDS)


def main() -> None:
    """Runs the service until a signal, or does what the arguments ask for."""
    SERVICE.main(sys.argv[1:], os.environ)


if __name__ == "__main__":
    main()
