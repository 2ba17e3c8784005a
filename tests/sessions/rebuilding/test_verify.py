"""`verify` finds what was changed in the live tables, by any hand, and nothing else."""

from __future__ import annotations

import asyncio
from argparse import Namespace

import pytest

from services.sessions import dead_letters_command
from services.sessions.dead_letters_arguments import Which
from services.sessions.rebuilding.command import run_verify
from services.sessions.rebuilding.model_tables import ALL, MODELS
from tests.sessions.database import execute
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.rebuilding.shop import all_rows, folded, rebuilt, served, settings_of, verified, write_days
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CORRUPTIONS = {
    "sessions": ("DELETE FROM sessions WHERE id = 'd0-bob'", "sessions: 1 of", "only in the log"),
    "timeline": ("UPDATE timeline SET facts = '[]' WHERE connection = 'd0-ann'", "timeline: ", "facts: []"),
    "users": ("UPDATE user_devices SET sessions = 99 WHERE user_id = 'eve'", "user_devices: 1 of", "sessions: 99, and"),
    "channels": ("UPDATE channel_hours SET peak = peak + 1", "channel_hours: ", "peak: "),
    "drops": ("UPDATE drops SET count = count + 1", "drops: ", "count: "),
    "days": ("UPDATE channel_days SET peak = peak + 1", "channel_days: ", "peak: "),
    "codes": ("DELETE FROM drop_codes WHERE width = 60", "drop_codes: ", "only in the log"),
    "versions": ("DELETE FROM openings WHERE client_name = 'js'", "openings: ", "only in the log"),
    "refusals": ("DELETE FROM refusals WHERE code = 103", "refusals: 3 of", "only in the log"),
    "edges": (
        "UPDATE edges SET draining_at = NULL WHERE instance = 'edge-1'",
        "edges: 2 of",
        "draining_at: nothing, and",
    ),
    "hung edges": (
        "UPDATE edges SET times_hung = 0, hung_at = NULL, found_at = NULL WHERE instance = 'edge-0'",
        "edges: 2 of",
        "times_hung: 0, and by the log 1",
    ),
}

CORRUPTED = ("sessions", "timeline", "user_devices", "channel_hours", "drops", "openings", "refusals", "edges")


async def test_what_was_changed_by_hand_is_found_and_repaired(
    nats_server: NatsServer, postgres: Postgres, capsys: pytest.CaptureFixture[str]
):
    async with served(nats_server, postgres):
        settings, before = settings_of(nats_server, postgres), await all_rows(postgres.url)
        await execute(
            postgres.url,
            *(statement for statement, _, _ in CORRUPTIONS.values()),
            "INSERT INTO channels SELECT 'x' || n, 0, 0, now(), 0, now(), now() FROM generate_series(1, 50) n",
        )
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(run_verify, settings, Namespace(name=ALL))
        said = capsys.readouterr().out
        assert ended.value.code == 1 and "equal: " not in said
        for _, *texts in CORRUPTIONS.values():
            assert all(text in said for text in texts), (texts, said)
        assert "channels: 50 of 51 rows differ" in said and "and 30 more" in said
        assert said.count("only in the live table") == 20
        assert all(f" rebuild {model}" in said.splitlines()[-1] for model in MODELS)
        await rebuilt(settings, "drops")
        repaired = await all_rows(postgres.url)
        assert {table for table, rows in repaired.items() if rows == before[table]} & set(CORRUPTED) == {"drops"}
        await rebuilt(settings, "all")
        assert await all_rows(postgres.url) == before
        capsys.readouterr()
        await asyncio.to_thread(run_verify, settings, Namespace(name=ALL))
        begins, *_, ends = capsys.readouterr().out.splitlines()
        assert begins.startswith("the session log reaches back to ") and ends.startswith("equal: "), (begins, ends)


async def test_what_is_older_than_the_log_is_not_compared(
    nats_server: NatsServer, postgres: Postgres, capsys: pytest.CaptureFixture[str]
):
    """A session of an hour ago, which an hour later is known to the tables alone, goes on."""
    async with served(nats_server, postgres, days=2):
        for table, column in (("sessions", "opened_at"), ("connections", "opened_at"), ("user_devices", "first_seen")):
            await execute(postgres.url, f"UPDATE {table} SET {column} = {column} - interval '1 hour'")
        async with EdgeDouble(nats_server.url, "nobody", silent=True) as edge:
            await edge.purge(keep=1)
        await write_days(nats_server, 1, begin=2)
        await folded(nats_server, postgres)
        await execute(postgres.url, "INSERT INTO overtaken_messages VALUES ('e', 1200, 5, 1300, now())")
        assert await verified(settings_of(nats_server, postgres)), capsys.readouterr().out
        said = capsys.readouterr().out
        assert "rows were not compared" in said
        assert "1,200 messages of the session log, between 5 and 1,300, went from it before they were folded" in said
        assert "equal, but for what was dropped before it was folded: " in said


async def test_dead_letters_are_left_out_of_both(
    nats_server: NatsServer, postgres: Postgres, capsys: pytest.CaptureFixture[str]
):
    async with served(nats_server, postgres, days=1):
        settings = settings_of(nats_server, postgres)
        await execute(postgres.url, "ALTER TABLE channels ADD CONSTRAINT few CHECK (subscriptions < 3)")
        await write_days(nats_server, 1, begin=1)
        await folded(nats_server, postgres)
        assert await verified(settings) and "1 dead letter in this part of the log: left out" in capsys.readouterr().out
        await execute(postgres.url, "ALTER TABLE channels DROP CONSTRAINT few")
        replay = Namespace(action="replay", which=Which(None), json=False)
        await asyncio.to_thread(dead_letters_command.run, settings, replay)
        await rebuilt(settings, "all")
        assert await verified(settings)
