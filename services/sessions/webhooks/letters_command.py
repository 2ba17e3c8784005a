"""`python -m services.sessions webhook-dead-letters`: lists, shows, replays and deletes what webhooks did not take."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from services.chassis.nats.credential_files import BadFile
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.printing import print_json, print_line, print_table, printable, readable, to_reader
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSettings
from services.sessions.webhooks.letters_arguments import WhichLetters
from services.sessions.webhooks.progress import WebhookLetter
from services.sessions.webhooks.progress_postgres import WebhookLetters
from services.sessions.webhooks.sender_http import WebhookSender
from services.sessions.webhooks.settings import WebhookSettings
from services.sessions.webhooks.verdict import Meaning

_NOT_TRIED: Final = "not tried, as the receiver did not take an earlier letter"

_COLUMNS: Final = ("NUMBER", "WEBHOOK", "SET ASIDE (UTC)", "EVENTS", "REASON")


def run(settings: SessionsSettings, asked: Namespace) -> None:
    """Does what was asked for, see `letters_arguments`. Exits with 1 if something was not found, or not taken again."""
    try:
        done = to_reader(lambda: asyncio.run(_run(settings, asked)))
    except (StoreAway, SchemaRefused) as error:
        sys.exit(f"fairlead-sessions: {error}")
    if not done:
        sys.exit(1)


async def _run(settings: SessionsSettings, asked: Namespace) -> bool:
    await SCHEMA.check(settings.postgres.url)
    async with Pool(settings.postgres.url, 1) as pool:
        kept = WebhookLetters(pool)
        found = [one for one in await kept.all() if asked.webhook in ("", one.webhook)]
        if asked.action in (None, "list"):
            _print_list(found, asked.json)
            return True
        which: WhichLetters = asked.which
        found = [one for one in found if which.number in (None, one.number)]
        if not found and which.number is not None:
            sys.stderr.write(f"there is no dead letter {which.number}: `list` shows all\n")
            return False
        if asked.action == "show":
            whole = [one for each in found if (one := await kept.whole(each.number)) is not None]
            _print_whole(whole, asked.json)
            return bool(whole)
        if asked.action == "delete":
            await kept.delete([one.number for one in found])
            if asked.json:
                print_json({"deleted": len(found)})
            else:
                print_line(f"deleted {len(found)}")
            return True
        webhooks = {one.name: one for one in settings.sessions.webhooks}
        replays: list[Replayed] = []
        unwell: set[str] = set()  # webhooks whose receiver failed: the other letters would wait for it one by one
        for each in found:
            if each.webhook in unwell:
                replays.append(Replayed(each.number, each.webhook, 0, _NOT_TRIED))
            else:
                replays.append(await _replay(kept, webhooks, each, unwell))
            if not asked.json:
                print_line(_told(replays[-1]))
        if asked.json:
            print_json(replays)
        return all(one.refused is None for one in replays)


class Replayed(msgspec.Struct):
    """The result for one letter: events that were taken, and why the letter is still kept (None: it is not)."""

    number: int
    webhook: str
    taken: int
    refused: str | None


async def _replay(
    kept: WebhookLetters, webhooks: Mapping[str, WebhookSettings], which: WebhookLetter, unwell: set[str]
) -> Replayed:
    """Sends a letter once more. Adds its webhook to `unwell` if the receiver failed. Raises `StoreAway`."""
    settings = webhooks.get(which.webhook)
    if settings is None:
        return Replayed(which.number, which.webhook, 0, "no webhook of this name is configured")
    whole = await kept.whole(which.number)
    if whole is None:
        return Replayed(which.number, which.webhook, 0, "it is gone")
    try:
        sender = WebhookSender(settings)
    except BadFile as error:
        return Replayed(which.number, which.webhook, 0, str(error))
    try:
        verdict = await sender.send(whole.body)
    finally:
        await sender.close()
    if verdict.meaning is Meaning.AGAIN:
        unwell.add(which.webhook)
    if verdict.meaning is not Meaning.TAKEN:
        return Replayed(which.number, which.webhook, 0, verdict.reason)
    await kept.delete([which.number])
    return Replayed(which.number, which.webhook, whole.events, None)


def _told(done: Replayed) -> str:
    if done.refused is None:
        return f"{done.number}: {done.webhook} took {done.taken} events"
    return f"{done.number}: still set aside: {printable(done.refused)}"


def _print_list(letters: Sequence[WebhookLetter], as_json: bool) -> None:
    if as_json:
        print_json([_described(one) for one in letters])
        return
    rows = [
        (str(one.number), one.webhook, f"{_time(one):%Y-%m-%d %H:%M:%S}", str(one.events), printable(one.reason))
        for one in letters
    ]
    print_table(_COLUMNS, rows, "there are no dead letters")


def _print_whole(letters: Sequence[WebhookLetter], as_json: bool) -> None:
    if as_json:
        print_json([{**_described(one), "body": msgspec.Raw(one.body)} for one in letters])
        return
    for one in letters:
        print_line(f"number     {one.number}, of the webhook {one.webhook}")
        print_line(f"set aside  {_time(one):%Y-%m-%d %H:%M:%S} UTC")
        print_line(f"reason     {printable(one.reason)}")
        print_line(f"events     {one.events}")
        print_line("\n" + readable(one.body))


def _described(one: WebhookLetter) -> dict[str, Any]:
    return {
        "number": one.number,
        "webhook": one.webhook,
        "reason": one.reason,
        "events": one.events,
        "put_aside_at": _time(one),
    }


def _time(one: WebhookLetter) -> datetime:
    return datetime.fromtimestamp(one.put_aside_at / 1000, UTC)
