"""`python -m services.sessions` serves until SIGTERM. `--help` lists what else it does."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Callable

from services.chassis.process.launch import Command, Service
from services.sessions.commands import arguments as questions
from services.sessions.dead_letters_arguments import describe
from services.sessions.outbox.arguments import describe as describe_outbox
from services.sessions.privacy.arguments import describe_erase, describe_export
from services.sessions.rebuilding.arguments import describe_rebuild, describe_verify
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


def _ask(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.commands.asking import run

    run(settings, asked)


def _export_user(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.privacy.command import export_user

    export_user(settings, asked)


def _erase_user(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.privacy.command import erase_user

    erase_user(settings, asked)


def _rebuild(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.rebuilding.command import run_rebuild

    run_rebuild(settings, asked)


def _verify(settings: SessionsSettings, asked: Namespace) -> None:
    from services.sessions.rebuilding.command import run_verify

    run_verify(settings, asked)


COMMANDS = {
    "who": Command("the sessions that were connected at a moment, or are now", _ask, questions.describe_who),
    "why": Command("why a user dropped, what they missed, what they were refused", _ask, questions.describe_why),
    "timeline": Command("all facts of a session in order", _ask, questions.describe_timeline),
    "drops": Command("how many connections were dropped, and how", _ask, questions.describe_drops),
    "channels": Command("subscribers of channels, now and at their peaks", _ask, questions.describe_channels),
    "versions": Command("versions of clients; what changed since a deploy", _ask, questions.describe_versions),
    "refusals": Command("who was refused, how often and why", _ask, questions.describe_refusals),
    "edges": Command("edges that ran, hung, drained, stopped or died", _ask, questions.describe_edges),
    "users": Command("users and their devices, when first and last seen", _ask, questions.describe_users),
    "migrate": Command("update the tables in PostgreSQL", _migrate, is_logged=True),
    "outbox": Command("list, show, replay or delete rows of the outbox; its SQL", _outbox, describe_outbox),
    "rebuild": Command(
        "fold the log again into new tables of a read model, and swap them in", _rebuild, describe_rebuild
    ),
    "verify": Command("fold the log again, and compare the read models with the result", _verify, describe_verify),
    "dead-letters": Command("list, show, replay or delete what could not be folded", _dead_letters, describe),
    "webhook-dead-letters": Command(
        "list, show, replay or delete what webhooks did not take", _webhook_dead_letters, describe_letters
    ),
    "export-user": Command("write all that is stored about a user", _export_user, describe_export),
    "erase-user": Command("erase all that is stored about a user", _erase_user, describe_erase),
}
SERVICE = Service("sessions", from_environ, _serve, cautions, COMMANDS)


def main() -> None:
    """Runs the service until a signal, or does what the arguments ask for."""
    SERVICE.main(sys.argv[1:], os.environ)


if __name__ == "__main__":
    main()
