"""`python -m services.sessions export-user` and `erase-user`.

Data goes to stdout, everything else to stderr. Nothing that goes to a log names the user.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from services.chassis.nats.link import NatsAway, NatsRefused
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.sessions.commands.screen import counted
from services.sessions.printing import print_line, to_reader
from services.sessions.privacy.access import opened
from services.sessions.privacy.erasure import Erasure
from services.sessions.privacy.export import Export
from services.sessions.privacy.person import NobodyMeant, Person
from services.sessions.privacy.progress import Connected, Incomplete, Report
from services.sessions.privacy.unreachable import UNREACHABLE
from services.sessions.settings import SessionsSettings

_TOLD_EVERY_S: Final = 0.2


def export_user(settings: SessionsSettings, asked: Namespace) -> None:
    """Writes all that is stored about a user. Exits with 1 if that fails; what was written then lacks its last line;
    with 2 for an id that nobody has.

    It exits with 0, too, if nothing is stored about the user: that is an answer. The command and the file say so.
    """
    _run(lambda person: _export(settings, person, asked.output), asked.user)


def erase_user(settings: SessionsSettings, asked: Namespace) -> None:
    """Erases a user. Exits with 1 if it was refused, or is incomplete; with 2 for an id that nobody has."""
    _run(lambda person: _erase(settings, person, asked), asked.user)


def _run(work: Callable[[Person], Coroutine[Any, Any, bool]], user: str) -> None:
    try:
        person = Person(user)
        done = to_reader(lambda: asyncio.run(work(person)))
    except Connected as error:
        sys.exit(f"fairlead-sessions: {error}, and add --disconnect")
    except NobodyMeant as error:
        sys.stderr.write(f"fairlead-sessions: {error}\n")
        sys.exit(2)
    except (StoreAway, SchemaRefused, NatsAway, NatsRefused, OSError) as error:
        sys.exit(f"fairlead-sessions: {error}")
    except Incomplete as error:
        sys.exit(f"fairlead-sessions: {error}. The erasure is incomplete: run the command again, it goes on")
    if not done:
        sys.exit(1)


async def _export(settings: SessionsSettings, person: Person, path: str | None) -> bool:
    with _output(path) as output, _Line() as line:
        async with opened(settings) as stores:
            export = Export(stores.link, stores.pool, person, line.progress)
            async for each in export.lines():
                output.write(each)
        output.flush()
    where = f" to {path}" if path else ""
    if not export.found:
        _tell(f"nothing is stored about this user: exported an empty answer{where}")
    else:
        _tell(f"exported {counted(export.found, 'record')} about this user{where}")
    return True


@contextmanager
def _output(path: str | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise OSError(f"{path} exists: remove it, or name a file that does not") from None
    except OSError as error:
        raise OSError(f"cannot write to {path!r}: {error.strerror}; --output takes the name of a new file") from None
    with os.fdopen(descriptor, "wb") as file:
        yield file


async def _erase(settings: SessionsSettings, person: Person, asked: Namespace) -> bool:
    async with opened(settings) as (link, pool, webhooks):
        with _Line() as line:
            erasure = Erasure(link, pool, person, webhooks, line.progress)
            if not asked.dry_run:
                await erasure.disconnected(and_end=asked.disconnect)
            report = await erasure.search()
        _show(report)
        if asked.dry_run or not report.total:
            return True
        if not asked.yes and not await asyncio.to_thread(_is_confirmed, person):
            _tell("nothing was erased: the id was not typed as above; --yes erases without asking")
            return False
        with _Line() as line:
            done = await erasure.erase()
    _show_done(report, done)
    return True


def _show(report: Report) -> None:
    if report.erased_at:
        _tell(f"the user was erased before, at {time.strftime('%F %T', time.gmtime(report.erased_at / 1000))} UTC")
    if not report.total:
        _tell("nothing is stored about this user")
    for store, count in report.stores.items():
        print_line(f"{count:>12,}  {store}")
    sys.stdout.flush()


def _show_done(report: Report, done: Counter[str]) -> None:
    _tell(f"erased. {done.total():,} facts were taken out of the log and its archive")
    _tell("What this cannot reach:")
    for each in UNREACHABLE:
        _tell(f"- {each}")


def _is_confirmed(person: Person) -> bool:
    sys.stderr.write("This cannot be undone. Type the user id again: ")
    sys.stderr.flush()
    typed = sys.stdin.readline()
    if not typed.endswith("\n"):
        _tell("")  # the input ended, and the cursor is still behind the question
    return typed.rstrip("\n") == person.user


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


class _Line:
    """The progress, as one changing line on a terminal. Elsewhere nothing is shown."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._told_at = 0.0

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *error: object) -> None:
        if self._told_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def progress(self, step: str, done: int, total: int) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if self._shown and now >= self._told_at + _TOLD_EVERY_S:
            self._told_at = now
            sys.stderr.write(f"\r\x1b[K{step}: {done:,}" + (f" of {total:,}" if total else ""))
            sys.stderr.flush()
