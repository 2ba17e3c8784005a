"""Everything that NATS and PostgreSQL hold, as text: to look for a user id in it, however it is escaped there."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg
import msgspec

from proto.events_reading import read_message
from proto.subjects import SESSIONS_STREAM
from services.chassis.nats.following import stream_names
from services.chassis.nats.link import NatsLink
from services.chassis.nats.stream_reads import read_stream
from services.chassis.nats.streams import stream_state
from services.sessions.privacy.person import Person
from services.sessions.projection import fold
from services.sessions.state import State

_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"""
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")


async def found_in_postgres(url: str, person: Person) -> set[str]:
    """The tables of which a row has the id, in any column of any schema."""
    found = set()
    database = await asyncpg.connect(url)
    try:
        for (table,) in await database.fetch(_TABLES):
            for row in await database.fetch(f"SELECT * FROM {table}"):
                if any(_names(value, person) for value in row.values()):
                    found.add(str(table).partition("_p2")[0].removesuffix("_default"))
    finally:
        await database.close()
    return found


async def found_in_jetstream(link: NatsLink, person: Person) -> set[str]:
    """The streams of which a message has the id in its subject, headers or body."""
    found = set()
    for stream in await stream_names(link, ""):
        after, left = 0, 1
        while left:
            messages, left = await read_stream(link, stream, after + 1, 100)
            for message in messages:
                if any(_names(part, person) for part in (message.subject, message.headers, message.data)):
                    found.add(stream)
            after = messages[-1].sequence if messages else after
    return found


def _names(value: Any, person: Person) -> bool:
    """Whether the id is in a value, in any of the ways in which text is written in another."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    ids = {person.user, person.stored}
    return any(name in form for form in _forms(text) for name in ids) or person.is_named_in(text)


def _forms(text: str) -> Iterator[str]:
    yield text
    yield unquote(text)
    for found in _BASE64.findall(text):
        try:
            yield _plain(base64.b64decode(found, validate=True).decode(errors="replace"))
        except binascii.Error:
            continue
    for line in text.splitlines():
        yield _plain(line.partition(": ")[2] or line)
    yield _plain(text)


def _plain(text: str) -> str:
    """The strings of JSON, one behind the other; or the text as it is."""
    try:
        waiting = [msgspec.json.decode(text)]
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    strings = []
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
        else:
            strings.append(str(one))
    return "\n".join(strings)


async def folded_afresh(link: NatsLink, url: str) -> State:
    """What a rebuild makes of the archive and the log: of two messages of the same sequence the archived one counts."""
    state = await stream_state(link, SESSIONS_STREAM)
    assert state is not None
    messages: dict[int, bytes] = {}
    after, left = 0, 1
    while left:
        page, left = await read_stream(link, SESSIONS_STREAM, after + 1, 100)
        messages |= {message.sequence: message.data for message in page}
        after = page[-1].sequence if page else after
    database = await asyncpg.connect(url)
    try:
        archived = await database.fetch("SELECT sequence, data FROM log_archive WHERE epoch = $1", state.epoch)
    finally:
        await database.close()
    messages |= {row["sequence"]: row["data"] for row in archived}
    batches = (read_message(data).batch for _, data in sorted(messages.items()))
    return fold(State(60_000), [batch for batch in batches if batch is not None])


def found_in_files(folder: Path, text: str) -> list[str]:
    """The files below a folder that have the bytes of a text."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
