"""`python -m services.sessions outbox`: the rows that were set aside, and the SQL of the outbox."""

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

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.outbox.set_aside_postgres import Aside, SetAside
from services.sessions.outbox.sql import OUTBOX_SQL
from services.sessions.outbox.table_postgres import OutboxTable
from services.sessions.settings import SessionsSettings

_COLUMNS: Final = ("ROW", "SET ASIDE (UTC)", "CHANNEL", "BYTES", "REASON")


def run(settings: SessionsSettings, asked: Namespace) -> None:
    """Does what was asked for, see `arguments`. Exits with 1 if something was not found."""
    if asked.action == "sql":
        sys.stdout.write(OUTBOX_SQL)
        return
    if not settings.outbox.url:
        sys.exit("fairlead-sessions: outbox.url is not set: there is no outbox")
    try:
        done = asyncio.run(_run(settings.outbox.url, asked))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has read enough, as `head` does; the interpreter flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except StoreAway as error:
        sys.exit(f"fairlead-sessions: {error}".replace("postgres.url", "outbox.url"))
    if not done:
        sys.exit(1)


async def _run(url: str, asked: Namespace) -> bool:
    async with Pool(url, 1) as pool:
        kept = SetAside(pool)
        if asked.action == "install":
            await kept.install()
            _print("the outbox is there")
            return True
        await OutboxTable(pool, url).check()
        if asked.action in (None, "list"):
            _print_list(await kept.all(), asked.json)
            return True
        if asked.action == "show":
            found = await kept.whole(asked.which)
            if found is not None:
                _print_whole(found, asked.json)
            return _known(asked.which, found is not None)
        done, verb = (
            (await kept.replay(asked.which), "put back")
            if asked.action == "replay"
            else (await kept.delete(asked.which), "deleted")
        )
        if asked.which is None or done:
            _print(msgspec.json.encode({verb: done}).decode() if asked.json else f"{verb} {done}")
        return _known(asked.which, asked.which is None or bool(done))


def _known(which: int, found: bool) -> bool:
    if not found:
        sys.stderr.write(f"no row {which} was set aside: `list` shows all\n")
    return found


def _print_list(rows: Sequence[Aside], as_json: bool) -> None:
    if as_json:
        _print(msgspec.json.encode([_described(one) for one in rows]).decode())
        return
    table = [
        (str(one.id), _time(one.set_aside_at), _printable(one.channel), str(one.size), _printable(one.reason))
        for one in rows
    ]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *table, strict=True)]
    for line in (_COLUMNS, *table) if table else ():
        _print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if not table:
        _print("no rows are set aside")


def _print_whole(one: Aside, as_json: bool) -> None:
    binary = {} if one.binary is None else {"b64data": base64.b64encode(one.binary).decode()}
    if as_json:
        _print(msgspec.json.encode({**_described(one), "data": one.data, **binary}).decode())
        return
    _print(f"row        {one.id}, key {one.message_id}")
    _print(f"channel    {_printable(one.channel)}")
    _print(f"inserted   {_time(one.created_at)} UTC")
    _print(f"set aside  {_time(one.set_aside_at)} UTC")
    _print(f"reason     {_printable(one.reason)}")
    if one.tags is not None:
        _print(f"tags       {_printable(one.tags)}")
    _print("\n" + (binary.get("b64data") or "\n".join(map(_printable, (one.data or "").split("\n")))))


def _described(one: Aside) -> dict[str, Any]:
    return {
        "id": one.id,
        "message_id": one.message_id,
        "channel": one.channel,
        "code": one.code,
        "reason": one.reason,
        "size": one.size,
        "created_at": datetime.fromtimestamp(one.created_at, UTC),
        "set_aside_at": datetime.fromtimestamp(one.set_aside_at, UTC),
    }


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
