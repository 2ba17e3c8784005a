"""`python -m services.sessions outbox`: the rows that were set aside, and the SQL of the outbox."""

from __future__ import annotations

import asyncio
import base64
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
from services.sessions.printing import print_json, print_line, print_table, printable, readable, to_reader
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
        done = to_reader(lambda: asyncio.run(_run(settings.outbox.url, asked)))
    except StoreAway as error:
        sys.exit(f"fairlead-sessions: {error}".replace("postgres.url", "outbox.url"))
    if not done:
        sys.exit(1)


async def _run(url: str, asked: Namespace) -> bool:
    async with Pool(url, 1) as pool:
        kept = SetAside(pool)
        if asked.action == "install":
            await kept.install()
            print_line("the outbox is there")
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
            if asked.json:
                print_json({verb: done})
            else:
                print_line(f"{verb} {done}")
        return _known(asked.which, asked.which is None or bool(done))


def _known(which: int, found: bool) -> bool:
    if not found:
        sys.stderr.write(f"no row {which} was set aside: `list` shows all\n")
    return found


def _print_list(rows: Sequence[Aside], as_json: bool) -> None:
    if as_json:
        print_json([_described(one) for one in rows])
        return
    table = [
        (str(one.id), _time(one.set_aside_at), printable(one.channel), str(one.size), printable(one.reason))
        for one in rows
    ]
    print_table(_COLUMNS, table, "no rows are set aside")


def _print_whole(one: Aside, as_json: bool) -> None:
    binary = None if one.binary is None else base64.b64encode(one.binary).decode()
    if as_json:
        data = {"data": _json(one.data)} if binary is None else {"b64data": binary}
        print_json({**_described(one), **data, "tags": _json(one.tags)})
        return
    print_line(f"row        {one.id}, key {one.message_id}")
    print_line(f"channel    {printable(one.channel)}")
    print_line(f"inserted   {_time(one.created_at)} UTC")
    print_line(f"set aside  {_time(one.set_aside_at)} UTC")
    print_line(f"reason     {printable(one.reason)}")
    if one.tags is not None:
        print_line(f"tags       {printable(one.tags)}")
    print_line("\n" + (readable((one.data or "").encode()) if binary is None else binary))


def _json(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


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
