"""`python -m services.sessions rebuild` and `verify`. The progress goes to stderr, the result to stdout."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import Final

from services.chassis.nats.link import NatsAway
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.sessions.log_nats import LogAway, LogNewer
from services.sessions.printing import to_reader
from services.sessions.rebuilding.log_reading import LetterWaits
from services.sessions.rebuilding.rebuild import rebuild
from services.sessions.rebuilding.refolding import LogChanged
from services.sessions.rebuilding.verify import verify
from services.sessions.rebuilding.workshop import NotRebuilt, Workshop, workshop
from services.sessions.settings import SessionsSettings
from services.sessions.store import FactsRefused

_INTERRUPTED: Final = 130


def run_rebuild(settings: SessionsSettings, asked: Namespace) -> None:
    """Builds a read model anew, and swaps it in. Exits with 1 if that was refused or failed: nothing is changed."""

    async def work(opened: Workshop) -> bool:
        await rebuild(opened, asked.name, asked.forget)
        return True

    _run(settings, work)


def run_verify(settings: SessionsSettings, asked: Namespace) -> None:
    """Compares a read model with the log. Exits with 1 if they differ, or if it failed."""
    _run(settings, lambda opened: verify(opened, asked.name))


def _run(settings: SessionsSettings, work: Callable[[Workshop], Awaitable[bool]]) -> None:
    async def all_of_it() -> bool:
        async with workshop(settings) as opened:
            return await work(opened)

    try:
        done = to_reader(lambda: asyncio.run(all_of_it()))
    except (
        StoreAway,
        SchemaRefused,
        NatsAway,
        LogAway,
        LogNewer,
        LogChanged,
        LetterWaits,
        FactsRefused,
        NotRebuilt,
    ) as error:
        sys.exit(f"fairlead-sessions: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the live tables are as they were\n")
        sys.exit(_INTERRUPTED)
    if not done:
        sys.exit(1)
