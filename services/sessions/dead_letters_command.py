"""`python -m services.sessions dead-letters`: lists, shows, replays and deletes what could not be folded."""

from __future__ import annotations

import asyncio
import base64
import os
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
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSettings
from services.sessions.store import FactsRefused, Store
from services.sessions.store_postgres import PostgresStore

_COLUMNS: Final = ("MESSAGE", "PUT ASIDE (UTC)", "WRITTEN BY", "BYTES", "REASON")


def run(settings: SessionsSettings, asked: Namespace) -> None:
    """Does what was asked for, see `dead_letters_arguments`.

    Exits with 1 if something was not found, or could not be folded again.
    """
    try:
        done = asyncio.run(_run(settings, asked))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has read enough, as `head` does; the interpreter flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
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
        if asked.action == "show":
            whole = [one for each in found if (one := await kept.whole(each)) is not None]
            _print_whole(whole, asked.json)
            return bool(whole)
        if asked.action == "delete":
            await kept.delete(found)
            if asked.json:
                _print_json({"deleted": len(found)})
            else:
                _print(f"deleted {len(found)}")
            return True
        store = PostgresStore(pool, int(settings.sessions.resume_window * 1000))
        replays: list[Replay] = []
        for each in found:
            replays.append(await replay(store, kept, each))
            if not asked.json:
                _print(_told(replays[-1]))
        if asked.json:
            _print_json(replays)
        return all(one.refused is None for one in replays)


class Replay(msgspec.Struct):
    """What became of one letter: facts folded, and why it, or a part of it, is still put aside (None: it is not)."""

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
    return f"{done.sequence}: {folded}still put aside: {_printable(done.refused)}"


def _of(which: Which, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    return [
        one
        for one in letters
        if which.sequence in (None, one.sequence) and (not which.epoch or which.epoch == one.epoch)
    ]


def _print_list(letters: Sequence[DeadLetter], as_json: bool) -> None:
    if as_json:
        _print_json([_described(one) for one in letters])
        return
    several = len({one.epoch for one in letters}) > 1
    rows = [
        (
            f"{one.epoch}/{one.sequence}" if several else str(one.sequence),
            f"{_time(one):%Y-%m-%d %H:%M:%S}",
            _printable(one.instance),
            str(one.size),
            _printable(one.reason),
        )
        for one in letters
    ]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows) if rows else ():
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not rows:
        _print("there are no dead letters")


def _print_whole(letters: Sequence[DeadLetter], as_json: bool) -> None:
    if as_json:
        _print_json([{**_described(one), "data": base64.b64encode(one.data).decode()} for one in letters])
        return
    for one in letters:
        _print(f"message    {one.sequence} of the session log, epoch {one.epoch}")
        _print(f"put aside  {_time(one):%Y-%m-%d %H:%M:%S} UTC")
        _print(f"written by {_printable(one.instance)}")
        _print(f"reason     {_printable(one.reason)}")
        _print(f"bytes      {one.size}" + (f", the first {len(one.data)} kept" if len(one.data) < one.size else ""))
        _print("\n" + _readable(one.data))


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


def _readable(data: bytes) -> str:
    """JSON with indentation, and anything else as it is; a terminal gets no control characters."""
    try:
        text = msgspec.json.format(data, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = data.decode(errors="backslashreplace")
    return "\n".join(map(_printable, text.split("\n")))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _print_json(what: object) -> None:
    _print(msgspec.json.encode(what).decode())
