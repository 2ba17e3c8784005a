"""A user in dead letters, in what webhooks know, and in the archive: messages and rows as services write them."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proto import subjects
from proto.events import (
    Closed,
    EventBatch,
    Opened,
    Refused,
    SessionEvent,
    Subscribed,
    decode_batch,
    encode_batch,
)
from services.chassis.nats.erasing import erase, message_at
from services.chassis.nats.streams import store
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.command import export_user
from services.sessions.privacy.person import Person
from services.sessions.privacy.tables_postgres import Tables
from services.sessions.projection import NAMES
from services.sessions.settings import SessionsSettings, from_environ
from services.sessions.store import Position
from tests.sessions.database import execute
from tests.sessions.privacy.stores import found_in_jetstream, found_in_postgres
from tests.sessions.running import metric, sessions_of, start, variables
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

ANN = 'ann "of these" tests, Ünï\\code'


def batch(number: int, *events: SessionEvent, instance: str = "i") -> bytes:
    return encode_batch(EventBatch("edge", instance, number, list(events)))


STORY = (
    batch(1, Opened(1_000, "c1", ANN, "phone", address="192.0.2.7"), Opened(1_001, "c2", "bob")),
    batch(2, Subscribed(1_002, "c1", "news"), Subscribed(1_003, "c2", "news"), Subscribed(1_003, "c1", f"#{ANN}")),
    b'{"edge":"edge","instance":"j","number":1,"events":[{"type":"opened","user":%s},{"type":"lagged","connection":7}]}'
    % json.dumps(ANN).encode(),
    b"no JSON of ours, about " + json.dumps(ANN).encode(),
    b"no JSON of ours, about nobody",
    batch(3, Refused(1_004, "publish", 103, user=ANN), Closed(1_005, "c1", 1000)),
)


async def test_a_user_goes_from_all_tables_and_others_stay(
    services: Services,
    nats_server: NatsServer,
    postgres: Postgres,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ann = Person(ANN)
    service = await start(services, nats_server, postgres, SESSIONS_ARCHIVE="true").ready(60)
    async with linked(nats_server.url) as link:
        for message in STORY:
            await store(link, subjects.session_events("i"), message, None)
        await eventually(lambda: _is_read(service, len(STORY)))
        event = {"id": "x", "at": 1, "type": "connected", "connection": "c1", "user": ANN}
        of_bob = {**event, "connection": "c2", "user": "bob"}
        database = await asyncpg.connect(postgres.url)
        try:
            for events in ([event, of_bob], [event]):
                body = json.dumps({"version": 1, "events": events}).encode()
                await database.execute(_LETTER, "w", f'it said "{ANN}"', len(events), body)
            for each in (event, of_bob):
                state = {"id": each["connection"], "instance": "i", "edge": "e", "opened_at": 1, "user": each["user"]}
                await database.execute(_STATE, "w", each["connection"], json.dumps(state).encode())
            old = batch(1, Opened(1, "c0", ANN), Opened(1, "c9", "bob"), instance="of an epoch before")
            await database.execute(_ARCHIVED, "EPOCH", 7, "of an epoch before", old)
            await _exports(from_environ(variables(nats_server, postgres)), tmp_path / "ann.jsonl", capsys)
            assert {"log_archive", "sessions", "dead_letters"} <= await found_in_postgres(postgres.url, ann)
            done = await service.command("erase-user", ANN, "--yes")
            assert done.returncode == 0, done.stderr
            found = {line.split("  ")[-1]: int(line.split()[0]) for line in done.stdout.splitlines()}
            expected = {"dead letters": 2, "webhook dead letters": 2, "webhook states": 1, "archived log messages": 6}
            assert expected.items() <= found.items(), found
            assert found["log messages"] == 5
            assert await found_in_postgres(postgres.url, ann) == set()
            assert await found_in_jetstream(link, ann) == set()
            (letter,) = await database.fetch("SELECT * FROM webhook_dead_letters")
            assert (letter["events"], letter["reason"], json.loads(letter["body"])["events"]) == (1, "erased", [of_bob])
            assert [row[0] for row in await database.fetch("SELECT connection FROM webhook_connections")] == ["c2"]
            letters = [bytes(row[0]) for row in await database.fetch("SELECT data FROM dead_letters ORDER BY sequence")]
            assert STORY[4] in letters and STORY[3] not in letters
            kept = await database.fetchval("SELECT data FROM log_archive WHERE epoch = 'EPOCH'")
            assert decode_batch(kept).events == [Opened(1, "c9", "bob")]
            second = await database.fetchval("SELECT data FROM log_archive WHERE epoch <> 'EPOCH' AND sequence = 2")
            assert decode_batch(second).events == [Subscribed(1_003, "c2", "news")]
            users = [row["user"] for row in await sessions_of(service)]
            assert users == ["bob"]
        finally:
            await database.close()


def _written(path: Path) -> tuple[list[dict[str, Any]], int]:
    return [json.loads(line) for line in path.read_text().splitlines()], path.stat().st_mode


async def _exports(settings: SessionsSettings, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command hands out what there is about her, in a file of her own, and says so of whom nothing is stored."""
    await asyncio.to_thread(export_user, settings, Namespace(user=ANN, output=str(path)))
    (*lines, last), mode = _written(path)
    assert {"user", "sessions", "log", "log archive", "dead letters", "webhook states"} <= {
        one["store"] for one in lines
    }
    assert last == {"store": "end", "lines": len(lines), "found": len(lines) - 1}
    assert f"exported {last['found']} records about this user to {path}\n" == capsys.readouterr().err
    assert mode & 0o077 == 0, "nobody else may read it"
    with pytest.raises(SystemExit, match="exists: remove it"):
        await asyncio.to_thread(export_user, settings, Namespace(user=ANN, output=str(path)))
    await asyncio.to_thread(export_user, settings, Namespace(user="never seen", output=None))
    said = capsys.readouterr()
    assert "nothing is stored about this user" in said.err
    assert [json.loads(line)["store"] for line in said.out.splitlines()] == ["user", "end"]


_LETTER = """
INSERT INTO webhook_dead_letters (webhook, reason, events, body, put_aside_at) VALUES ($1, $2, $3, $4, now())"""
_STATE = "INSERT INTO webhook_connections (webhook, connection, state) VALUES ($1, $2, $3)"
_ARCHIVED = "INSERT INTO log_archive (epoch, sequence, stored_at, writer, data) VALUES ($1, $2, now(), $3, $4)"


async def _is_read(service: ServiceProcess, count: int) -> None:
    assert await metric(service, "fairlead_sessions_lag_batches") == 0
    assert len(await sessions_of(service)) == 2


async def test_a_model_that_another_version_has_folded_is_not_waited_for(postgres: Postgres) -> None:
    await execute(
        postgres.url,
        "INSERT INTO projections (name, epoch, sequence, moved_at) VALUES ('timeline-0', 'of then', 3, now())",
        *(
            f"INSERT INTO projections (name, epoch, sequence, moved_at) VALUES ('{name}', 'e', 9, now())"
            for model, name in NAMES.items()
            if model != "timeline"
        ),
    )
    async with Pool(postgres.url, 1) as pool:
        assert await Tables(pool, Person(ANN)).position([]) == Position("e", 9)


async def test_a_message_is_erased_once(nats_server: NatsServer) -> None:
    async with linked(nats_server.url) as link:
        await link.stream_manager().add_stream(name="S", subjects=["s"], allow_direct=True)
        for data in (b"1", b"2"):
            await store(link, "s", data, None)
        assert await erase(link, "S", 1) and not await erase(link, "S", 1) and not await erase(link, "S", 99)
        assert await message_at(link, "S", 1) is None
        kept = await message_at(link, "S", 2)
        assert kept is not None and kept.data == b"2"
