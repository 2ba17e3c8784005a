"""Poisonous messages in the log of a running service, and what an operator does with them at the command line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from proto.events import EventBatch, Opened, encode_batch
from tests.sessions.database import execute
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.poison import BEYOND, UNKNOWN
from tests.sessions.running import metric, sessions_of, start, variables
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration


def opened(name: str) -> Opened:
    return Opened(at=int(time.time() * 1000), connection=name, user=name)


def with_members(batch: EventBatch, *events: dict[str, Any], **members: Any) -> bytes:
    raw = msgspec.to_builtins(batch)
    return msgspec.json.encode({**raw, "events": [*events, *raw["events"]], **members})


async def users(service: ServiceProcess, *expected: str) -> None:
    assert {one["user"] for one in await sessions_of(service)} == set(expected)


async def test_one_message_stops_nothing_and_an_operator_gets_it_back(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    await execute(postgres.url, "ALTER TABLE sessions ADD CONSTRAINT nobody CHECK (user_id <> 'poison')")

    async def dead_letters(*arguments: str, out: int = subprocess.PIPE) -> tuple[int, str]:
        command = [sys.executable, "-m", "services.sessions", "dead-letters", *arguments]
        environ = variables(nats_server, postgres)
        done = await asyncio.to_thread(
            subprocess.run, command, env=environ, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60
        )
        return done.returncode, (done.stdout or "") + done.stderr

    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(opened("first"))  # message 1 of the log
        await edge.store(b"\x1b[2Jrubbish", "2")
        await edge.store(with_members(edge.batch(opened("lost")), number=2**63), "3")
        await edge.write(opened("good"), opened("poison"))  # 4
        await edge.store(with_members(edge.batch(opened("kept")), UNKNOWN, BEYOND), "5")
        await edge.store(encode_batch(EventBatch("edge-1", "a\r\nb", 1, [opened("wild")])), "6")
        await edge.write(opened("last"))
        await eventually(lambda: users(service, "first", "kept", "wild", "last"))
    assert await metric(service, "fairlead_sessions_dead_letters_total") == 4
    assert await metric(service, "fairlead_sessions_unknown_types_total") == 1
    await service.ready()
    assert "message 2 of the session log was set aside" in service.log() and "1 'teleported'" in service.log()

    code, listed = await dead_letters("list", "--json")
    letters = {one["sequence"]: one for one in json.loads(listed)}
    assert (code, list(letters)) == (0, [2, 3, 4, 5])
    assert "Expected `int` <= 9223372036854775807 - at `$.number`" in letters[3]["reason"]
    assert 'violates check constraint "nobody" (23514)' in letters[4]["reason"]
    assert "1 of its 3 facts cannot be read" in letters[5]["reason"] and "'teleported'" in letters[5]["reason"]
    assert {one["instance"] for one in letters.values()} == {"i1"}
    code, table = await dead_letters()
    assert code == 0 and table.splitlines()[0].split()[0] == "MESSAGE" and len(table.splitlines()) == 5

    nobody_reads, out = os.pipe()
    os.close(nobody_reads)
    assert await dead_letters("show", "2", out=out) == (1, ""), "as `| head` does: no trace"
    os.close(out)

    code, shown = await dead_letters("show", "4")
    assert code == 0 and '"user": "poison"' in shown and "written by i1" in shown
    code, shown = await dead_letters("show", "2")
    assert code == 0 and "\\x1b[2Jrubbish" in shown and "\x1b" not in shown, "nothing of it reaches the terminal"

    code, replayed = await dead_letters("replay", "all")
    assert code == 1
    assert [line.split(":")[0] for line in replayed.splitlines()] == ["2", "3", "4", "5"]
    assert "4: still set aside: PostgreSQL: " in replayed
    await execute(postgres.url, "ALTER TABLE sessions DROP CONSTRAINT nobody")
    assert await dead_letters("replay", "4") == (0, "4: folded 2 facts\n")
    await users(service, "first", "kept", "wild", "last", "good", "poison")
    assert (await dead_letters("replay", "4"))[0] == 1, "it is gone"
    assert await dead_letters("delete", "all") == (0, "deleted 3\n")
    assert await dead_letters() == (0, "there are no dead letters\n")
