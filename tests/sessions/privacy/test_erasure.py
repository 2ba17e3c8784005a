"""A user is erased from every store, and no other user is: with a real edge, NATS as it ships, and PostgreSQL."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from proto import subjects
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.erasure import Erasure
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Incomplete, unwatched
from tests.sessions.privacy.stores import folded_afresh, found_in_files, found_in_jetstream, found_in_postgres
from tests.sessions.privacy.test_calls_http import ended
from tests.sessions.running import API_KEY, sessions_of
from tests.support.edges import TOML_WITHOUT_HOOKS, WireClient, api, connected, start_edge
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_users import password_of, restricted_nats, variables_of
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import Postgres
from tests.support.servers_native import NativeNats

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PERSONAL = """[client]
subscribe_to_user_personal_channel = true
user_personal_channel_namespace = "own"
session_event_details = ["address", "user_agent"]
[channel]
"""
TOML = f"""{TOML_WITHOUT_HOOKS.replace("[channel]", PERSONAL, 1)}
[[channel.namespaces]]
name = "own"
history_size = 10
history_ttl = "1h"
force_recovery = true
allow_user_limited_channels = true
[[channel.namespaces]]
name = "one"
history_size = 1
history_ttl = "1h"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
"""
SHARED = ("chat:x", "one:x", "state:x")
PLAIN = "a-user-id-that-is-found-nowhere-else-7301"
ODD = 'Zoë "Ω" \\ 🦆, of a-rather-long-user-id'
LONG = "x#y:" + "u" * 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NativeNats]:
    """The server that ships, whatever TEST_BACKEND is: its files are searched."""
    server = restricted_nats(tmp_path / "nats")
    yield server
    server.close()


class Story(NamedTuple):
    """Ann and Bob have been there, and have published, Ann first; Cid still is. `before`: positions before Ann."""

    ann: Person
    service: ServiceProcess
    edge: ServiceProcess
    link: NatsLink
    cid: WireClient
    before: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]


@asynccontextmanager
async def story(services: Services, server: NativeNats, postgres: Postgres, ann: str) -> AsyncIterator[Story]:
    own = {"FAIRLEAD_NATS_URL": server.url, "FAIRLEAD_POSTGRES_URL": postgres.url, "FAIRLEAD_HTTP_API_KEY": API_KEY}
    privacy = {"FAIRLEAD_PRIVACY_NATS_USER": "privacy", "FAIRLEAD_PRIVACY_NATS_PASSWORD": password_of("privacy")}
    service = services.start("sessions", own | privacy | variables_of("sessions"))
    edge = start_edge(services, server, "edge-a", TOML, FAIRLEAD_CLIENT_PING_INTERVAL="0", **variables_of("edge"))
    for process in (service, edge):
        await process.ready(60)
    operator = NatsSettings(url=server.url, user="operator", password=password_of("operator"))
    async with linked(operator) as link, connected(edge, "cid") as cid:
        before = {channel: await cid.subscribe(channel) for channel in SHARED}
        for user, times in ((ann, 2), ("bob", 2)):
            async with connected(edge, user) as client:
                for channel in SHARED:
                    await client.subscribe(channel)
                for channel in SHARED:
                    for n in range(1 if channel == "one:x" else times):
                        published = {"channel": channel, "data": [user == ann, n], "idempotency_key": f"{channel}{n}"}
                        assert "publish" in await client.ask_in_any_order(publish=published)
                if user != ann == PLAIN:  # the others are no names of channels
                    refused = await client.ask_in_any_order(subscribe={"channel": f"own:#{ann}"})
                    assert refused["error"]["code"] == 103
                    await api(edge, "subscribe", {"user": user, "channel": f"own:#{ann}"})
            await api(edge, "publish", {"channel": f"own:#{user}", "data": 1, "idempotency_key": "k"})
        rows = await eventually(lambda: _rows_of_others(service, ann, 2))
        yield Story(Person(ann), service, edge, link, cid, before, rows)


async def _rows_of_others(service: ServiceProcess, ann: str, ended: int = 0) -> list[dict[str, Any]]:
    assert not ended or len(await sessions_of(service, state="ended")) == ended
    return [row for row in await sessions_of(service) if row["user"] not in (ann, Person(ann).stored)]


async def _erase(story: Story, *options: str) -> subprocess.CompletedProcess[str]:
    return await story.service.command("erase-user", story.ann.user, "--yes", *options)


@pytest.mark.parametrize("user", [PLAIN, ODD, LONG], ids=["plain", "odd", "long"])
async def test_a_user_is_nowhere_after_an_erasure(
    services: Services, server: NativeNats, postgres: Postgres, user: str
) -> None:
    async with story(services, server, postgres, user) as it:
        streams = await found_in_jetstream(it.link, it.ann)
        assert {"SESSIONS", "KEYS", "CH_chat_0"} <= streams and "IDX" in {name[:3] for name in streams}
        assert user != PLAIN or "CH_own_0" in streams
        there = await found_in_postgres(postgres.url, it.ann)
        assert {"sessions", *({"refusals", "subscriptions", "timeline"} if user == PLAIN else ())} <= there
        done = await _erase(it)
        assert done.returncode == 0, done.stderr
        assert await found_in_jetstream(it.link, it.ann) == set()
        assert await found_in_postgres(postgres.url, it.ann) == set()
        assert await _rows_of_others(it.service, user) == it.rows
        afresh = await folded_afresh(it.link, postgres.url)
        assert {one.id: one.user for one in afresh.sessions.values()} == {row["id"]: row["user"] for row in it.rows}
        assert {user for user, *_ in afresh.users} == {"bob", "cid"}
        verified = await it.service.command("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "counts include users who have been erased" in verified.stdout
        rebuilt = await it.service.command("rebuild", "all")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert await found_in_postgres(postgres.url, it.ann) == set()
        assert await _rows_of_others(it.service, user) == it.rows
        again = await _erase(it)
        assert again.returncode == 0 and "erased before" in again.stderr and "nothing is stored" in again.stderr
        assert user not in it.service.log()
    server.stop()
    if user == PLAIN:
        left = found_in_files(server.folder, PLAIN)
        assert all("CH_one_" in path for path in left), "there Bob's publication had taken the place of hers before"
        assert await _found_in_files_of_postgres(postgres.url, PLAIN) == []


async def _found_in_files_of_postgres(url: str, text: str) -> list[str]:
    """The files of the database that have a text, once dead rows are gone."""
    database = await asyncpg.connect(url)
    try:
        await database.execute("VACUUM FULL")
        await database.execute("CHECKPOINT")
        folder = await database.fetchval("SELECT 'base/' || oid FROM pg_database WHERE datname = current_database()")
        found = await database.fetch(
            "SELECT name FROM pg_ls_dir($1) AS name "
            "WHERE position($2::bytea IN pg_read_binary_file($1 || '/' || name)) > 0",
            folder,
            text.encode(),
        )
        return [row[0] for row in found]
    finally:
        await database.close()


async def test_no_client_takes_an_erased_publication_for_one_that_never_was(
    services: Services, server: NativeNats, postgres: Postgres
) -> None:
    async with story(services, server, postgres, PLAIN) as it:
        assert (await _erase(it)).returncode == 0
        for channel in SHARED:
            history = (await api(it.edge, "history", {"channel": channel, "limit": 10})).json()["result"]
            of_bob = [[False, 0]] if channel == "one:x" else [[False, 0], [False, 1]]
            assert [each["data"] for each in history["publications"]] == of_bob, channel
        await eventually(lambda: _recovers_from_the_end(it))
        for channel in ("chat:x", "one:x"):
            async with connected(it.edge, "dan") as dan:
                at = it.before[channel]
                back = await dan.subscribe(channel, recover=True, offset=at["offset"], epoch=at["epoch"])
                assert not back.get("recovered"), f"{channel}: he has missed what Ann published"
        async with connected(it.edge, "dan") as dan:
            newest = await dan.subscribe("state:x")
            assert [each["data"] for each in newest["publications"]] == [[False, 1]], "Bob's is still the state"
        server.stop()
        server.start()
        await it.edge.ready()
        await eventually(lambda: _recovers_from_the_end(it))


async def _recovers_from_the_end(it: Story) -> None:
    """A client that has everything is told so, and gets what comes."""
    async with connected(it.edge, "eve") as eve:
        top = await eve.subscribe("chat:x")
    async with connected(it.edge, "eve") as eve:
        back = await eve.subscribe("chat:x", recover=True, offset=top["offset"], epoch=top["epoch"])
        assert back["recovered"] and not back.get("publications")


async def test_subscribers_who_stay_notice_nothing_and_what_is_published_meanwhile_goes_too(
    services: Services, server: NativeNats, postgres: Postgres
) -> None:
    privacy = NatsSettings(url=server.url, user="privacy", password=password_of("privacy"))
    own = {"channel": f"own:#{PLAIN}", "data": 1, "idempotency_key": "meanwhile"}
    async with (
        story(services, server, postgres, PLAIN) as it,
        Pool(postgres.url, 3) as pool,
        linked(privacy, subjects.PRIVACY_INBOX) as link,
    ):
        erasure = Erasure(link, pool, it.ann, [], unwatched)
        await erasure.search()
        await api(it.edge, "publish", own)  # somebody is asked whether the user is to be erased
        await erasure.erase()
        assert await found_in_jetstream(it.link, it.ann) == set()
        await api(it.edge, "publish", {"channel": "chat:x", "data": "later"})
        while (message := await it.cid.message())["push"].get("pub", {}).get("data") != "later":
            assert "unsubscribe" not in message["push"] and "disconnect" not in message["push"]


async def test_who_is_connected_is_disconnected_first_or_not_erased(
    services: Services, server: NativeNats, postgres: Postgres
) -> None:
    async with story(services, server, postgres, PLAIN) as it, connected(it.edge, PLAIN) as ann:
        await ann.subscribe("chat:x")
        await eventually(lambda: _is_open(it.service))
        refused = await _erase(it)
        assert refused.returncode == 1 and "--disconnect" in refused.stderr
        over_http = await ended(it.service, {"user": PLAIN}, API_KEY)
        assert over_http["state"] == "failed" and over_http["error"].endswith('and ask again with "disconnect": true')
        assert await found_in_jetstream(it.link, it.ann) != set()
        await _is_not_begun_without_the_service(it, server, postgres)
        assert "subscribe" in await ann.ask_in_any_order(subscribe={"channel": "one:x"})
        done = await _erase(it, "--disconnect")
        assert done.returncode == 0, done.stderr
        assert (await ann.closed())[0] == 3503
        assert await found_in_jetstream(it.link, it.ann) == set()


async def _is_not_begun_without_the_service(it: Story, server: NativeNats, postgres: Postgres) -> None:
    privacy = NatsSettings(url=server.url, user="privacy", password=password_of("privacy"))
    it.service.pause()
    async with Pool(postgres.url, 3) as pool, linked(privacy, subjects.PRIVACY_INBOX) as link:
        erasure = Erasure(link, pool, it.ann, [], unwatched, patience_s=0.3)
        with pytest.raises(Incomplete, match="nobody was disconnected, as the sessions service does not run"):
            await erasure.disconnected(and_end=True)
    it.service.resume()


async def _is_open(service: ServiceProcess) -> None:
    assert PLAIN in {row["user"] for row in await sessions_of(service, state="open")}


async def test_a_dry_run_and_another_id_erase_nothing(
    services: Services, server: NativeNats, postgres: Postgres
) -> None:
    async with story(services, server, postgres, PLAIN) as it:
        dry = await it.service.command("erase-user", PLAIN, "--dry-run")
        assert dry.returncode == 0 and "1  sessions" in dry.stdout and "publications" in dry.stdout
        refused = await it.service.command("erase-user", PLAIN)  # nothing is typed
        assert refused.returncode == 1 and "nothing was erased" in refused.stderr
        assert "SESSIONS" in await found_in_jetstream(it.link, it.ann)
        unknown = await it.service.command("erase-user", "never seen", "--yes")
        assert unknown.returncode == 0 and "nothing is stored" in unknown.stderr
        nobody = await it.service.command("erase-user", "", "--yes")
        assert nobody.returncode == 2 and "anonymous" in nobody.stderr


async def test_an_erasure_that_was_killed_is_finished_by_the_next(
    services: Services, server: NativeNats, postgres: Postgres
) -> None:
    async with story(services, server, postgres, ODD) as it:
        for kill_after_s in (0.9, 1.1, 1.3, 1.5):
            process = await asyncio.to_thread(it.service.begin, "erase-user", ODD, "--yes")
            try:
                await asyncio.to_thread(process.wait, kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        done = await _erase(it)
        assert done.returncode == 0, done.stderr
        assert await found_in_jetstream(it.link, it.ann) == set()
        assert await found_in_postgres(postgres.url, it.ann) == set()
        assert await _rows_of_others(it.service, ODD) == it.rows
