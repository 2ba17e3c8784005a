"""The handles that the other tests rely on do what they promise, on whichever backend TEST_BACKEND names."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import nats
import pytest

from tests.support import servers_containers, servers_native
from tests.support.eventually import NotYet, eventually
from tests.support.servers import Backend, MissingBackend, NatsServer, Postgres, choose_backend

pytestmark = pytest.mark.integration


async def test_a_further_nats_has_nothing_of_the_one_before(chosen_backend: Backend, tmp_path: Path):
    for _ in range(2):
        server = chosen_backend.nats(tmp_path / "nats")
        server.start()
        link = await nats.connect(server.url)
        js = link.jetstream()
        assert await js.streams_info() == []
        await js.add_stream(name="KEPT", subjects=["kept.>"])
        await link.close()
        server.close()
        shutil.rmtree(tmp_path / "nats", ignore_errors=True)


async def test_nats_keeps_its_store_and_port_across_stop_kill_and_pause(nats_server: NatsServer):
    link = await nats.connect(nats_server.url, reconnect_time_wait=0.05, max_reconnect_attempts=-1)
    js = link.jetstream(timeout=1)
    await js.add_stream(name="KEPT", subjects=["kept.>"])

    async def store(number: int) -> None:
        assert (await js.publish("kept.x", b"%d" % number, stream="KEPT")).seq >= number

    await eventually(lambda: store(1))
    nats_server.stop()
    nats_server.start()
    await eventually(lambda: store(2))
    nats_server.kill9()
    nats_server.start()
    await eventually(lambda: store(3))
    nats_server.pause()
    with pytest.raises(nats.errors.TimeoutError):
        await js.stream_info("KEPT")
    nats_server.resume()
    await eventually(lambda: js.stream_info("KEPT"))
    await link.close()


async def test_postgres_keeps_its_data_across_a_stop_and_databases_are_apart(postgres: Postgres):
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE TABLE kept (n int)")
    postgres.stop()
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(postgres.url, timeout=2)
    postgres.start()
    connection.terminate()
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()
    other = await asyncpg.connect(postgres.empty_database())
    assert await other.fetchval("SELECT to_regclass('kept')") is None
    await other.close()


async def test_postgres_that_is_killed_has_what_was_committed(postgres: Postgres):
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE TABLE kept (n int)")
    for number in range(100):
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
    postgres.kill9()
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    postgres.start()
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 100
    await connection.close()


def test_a_backend_that_is_asked_for_and_missing_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers_native, "missing", lambda: "these wheels are missing: x")
    monkeypatch.setattr(servers_containers, "missing", lambda: "no Docker engine answers")
    with pytest.raises(MissingBackend, match="wheels are missing"):
        choose_backend("native")
    for name in ("containers", "auto"):
        with pytest.raises(MissingBackend, match="no Docker engine"):
            choose_backend(name)
    with pytest.raises(MissingBackend, match="expected native, containers or auto"):
        choose_backend("podman")


async def test_eventually_tells_the_last_failure():
    def check() -> None:
        raise ValueError("still wrong")

    with pytest.raises(NotYet, match="still wrong"):
        await eventually(check, within_s=0.05)
    with pytest.raises(NotYet, match="stayed false"):
        await eventually(lambda: False, within_s=0.05)
    assert await eventually(lambda: 7) == 7
