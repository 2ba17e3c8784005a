"""`python -m services.sessions dead-letters`: lists, shows, replays and deletes what could not be folded."""

from __future__ import annotations

import asyncio
import base64
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from proto.events_reading import NewerBatch, read_message
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.dead_letters_arguments import Which
from services.sessions.dead_letters_postgres import DeadLetters
from services.sessions.entries import DeadLetter, Entry, letter
from services.sessions.printing import print_json, print_line, print_table, printable, readable, to_reader
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSettings
from services.sessions.store import FactsRefused, Store
from services.sessions.store_postgres import PostgresStore

_NONE: Final = "there are no dead letters"
_COLUMNS: Final = ("MESSAGE", "SET ASIDE (UTC)", "WRITTEN BY", "BYTES", "REASON")


def run(settings: SessionsSettings, asked: Namespace) -> None:
    """Does what was asked for, see `dead_letters_arguments`.

    Exits with 1 if something was not found, or could not be folded again.
    """
    try:
        done = to_reader(lambda: asyncio.run(_run(settings, asked)))
    except (StoreAway, SchemaRefused) as error:
        sys.exit(f"fairlead-sessions: {error}")
    if not done:
        sys.exit(1)


async def _run(settings: SessionsSettings, asked: Namespace) -> bool:
    await SCHEMA.check(settings.postgres.url)
    async with Pool(settings.postgres.url, 1) as pool:
        kept = DeadLetters(pool)
        found = await kept.all()
        if asked.action in (None, "list"):
            _print_list(found, asked.json)
            return True
        found = _of(asked.which, found)
        if not found and asked.which.sequence is not None:
            sys.stderr.write(f"there is no dead letter {asked.which.sequence}: `list` shows all\n")
            return False
        if not found and not asked.json and asked.action != "delete":
            print_line(_NONE)
            return True
        if asked.action == "show":
            whole = [one for each in found if (one := await kept.whole(each)) is not None]
            _print_whole(whole, asked.json)
            return bool(whole)
        if asked.action == "delete":
            await kept.delete(found)
            if asked.json:
                print_json({"deleted": len(found)})
            else:
                print_line(f"deleted {len(found)}")
            return True
        store = PostgresStore(pool, int(settings.sessions.resume_window * 1000))
        replays: list[Replay] = []
        for each in found:
            replays.append(await replay(store, kept, each))
            if not asked.json:
                print_line(_told(replays[-1]))
        if asked.json:
            print_json(replays)
        return all(one.refused is None for one in replays)


class Replay(msgspec.Struct):
    """The result for one letter: facts folded, and why it, or a part of it, is still set aside (None: nothing is)."""

    sequence: int
    epoch: str
    folded: int
    refused: str | None


async def replay(store: Store, kept: DeadLetters, which: DeadLetter) -> Replay:
    """Folds a letter again, by the code that folds the log. Raises `StoreAway`."""

    def refused(reason: str) -> Replay:
        return Replay(which.sequence, which.epoch, 0, reason)

    whole = await kept.whole(which)
    if whole is None:
        return refused("it is gone")
    if len(whole.data) < whole.size:
        return refused(f"only the first {len(whole.data)} of its {whole.size} bytes were kept")
    try:
        entry = Entry(whole.sequence, whole.data, whole.instance, *read_message(whole.data))
        if entry.batch is None or not entry.batch.events:
            return refused(whole.reason if entry.unreadable is None else entry.unreadable.reason)
        rest = None if entry.unreadable is None else letter(whole.epoch, entry, entry.unreadable)
        outcome = await store.replay(whole, entry.batch, rest)
    except (NewerBatch, FactsRefused) as error:
        return refused(str(error))
    if outcome is None:
        return refused("it is gone")
    return Replay(whole.sequence, whole.epoch, outcome.events, None if rest is None else rest.reason)


def _told(done: Replay) -> str:
    if done.refused is None:
        return f"{done.sequence}: folded {done.folded} facts"
    folded = f"folded {done.folded} facts, the rest is " if done.folded else ""
    return f"{done.sequence}: {folded}still set aside: {printable(done.refused)}"


def _of(which: Which, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    return [
        one
        for one in letters
        if which.sequence in (None, one.sequence) and (not which.epoch or which.epoch == one.epoch)
    ]


def _print_list(letters: Sequence[DeadLetter], as_json: bool) -> None:
    if as_json:
        print_json([_described(one) for one in letters])
        return
    several = len({one.epoch for one in letters}) > 1
    rows = [
        (
            f"{one.epoch}/{one.sequence}" if several else str(one.sequence),
            f"{_time(one):%Y-%m-%d %H:%M:%S}",
            printable(one.instance),
            str(one.size),
            printable(one.reason),
        )
        for one in letters
    ]
    print_table(_COLUMNS, rows, _NONE)


def _print_whole(letters: Sequence[DeadLetter], as_json: bool) -> None:
    if as_json:
        print_json([{**_described(one), "data": base64.b64encode(one.data).decode()} for one in letters])
        return
    for one in letters:
        print_line(f"message    {one.sequence} of the session log, epoch {one.epoch}")
        print_line(f"set aside  {_time(one):%Y-%m-%d %H:%M:%S} UTC")
        print_line(f"written by {printable(one.instance)}")
        print_line(f"reason     {printable(one.reason)}")
        print_line(f"bytes      {one.size}" + (f", the first {len(one.data)} kept" if len(one.data) < one.size else ""))
        print_line("\n" + readable(one.data))


def _described(one: DeadLetter) -> dict[str, Any]:
    return {
        "sequence": one.sequence,
        "epoch": one.epoch,
        "instance": one.instance,
        "reason": one.reason,
        "size": one.size,
        "put_aside_at": _time(one),
    }


def _time(one: DeadLetter) -> datetime:
    return datetime.fromtimestamp(one.put_aside_at / 1000, UTC)
