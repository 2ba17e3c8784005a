"""SIGHUP: an edge takes over changed settings while its clients stay connected, all of them or none."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import websockets

from tests.support.edges import SECRET, api, connected, start_edge, start_edge_in_memory, token, wire_client
from tests.support.eventually import eventually
from tests.support.metrics import series
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer
from tests.support.stock_errors import CommandFailed
from tests.support.stock_python import PythonClient

pytestmark = pytest.mark.integration

LIVE = """
[[channel.namespaces]]
name = "live"
allow_subscribe_for_client = true
allow_publish_for_client = true
"""
HISTORY = """
history_size = 10
history_ttl = "1h"
history_max_bytes = 16_777_216
force_recovery = true
"""
KEPT = LIVE.replace("live", "kept") + HISTORY
NEW_SECRET = "a-newer-secret-of-the-tests-that-is-long"
SUCCESSFUL = "fairlead_process_config_last_reload_successful"
SUCCEEDED_AT = "fairlead_process_config_last_reload_success_timestamp_seconds"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file with the secret of tokens."""
    path = tmp_path / "token-secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
async def edge(
    request: pytest.FixtureRequest, services: Services, nats_server: NatsServer, secret: Path
) -> ServiceProcess:
    """An edge on NATS; where a test says so, also one by itself."""
    return await started(services, None if getattr(request, "param", "") == "memory" else nats_server, secret)


BOTH_BROKERS = pytest.mark.parametrize("edge", ["nats", "memory"], indirect=True)


async def started(services: Services, nats: NatsServer | None, secret: Path) -> ServiceProcess:
    variables: dict[str, str | None] = {
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": None,
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY_FILE": str(secret),
        "FAIRLEAD_CHANNEL_HISTORY_MAX_BYTES": None,
    }
    toml = "[channel]\nhistory_partitions = 2\nhistory_max_bytes = 1_000_000_000_000_000\n" + LIVE
    if nats is None:
        return await start_edge_in_memory(services, "alone", toml, **variables).ready()
    return await start_edge(services, nats, "edge-a", toml, **variables).ready()


@pytest.fixture
async def alice(edge: ServiceProcess) -> AsyncIterator[PythonClient]:
    """A stock client that is subscribed to live:x, and is still connected at the end of the test."""
    client = PythonClient(edge.ws_url, token=token("alice"))
    try:
        await client.connect()
        await client.subscribe("live:x")
        yield client
        await client.publish("live:x", "still there")
        await eventually(lambda: "still there" in published(client, "live:x"))
        assert [each["event"] for each in client.events].count("connected") == 1
    finally:
        await client.close()


def published(client: PythonClient, channel: str) -> list[Any]:
    return [each["data"] for each in client.events if each["event"] == "publication" and each["channel"] == channel]


def head(edge: ServiceProcess) -> str:
    """The part of the edge's configuration before its namespaces."""
    return edge.config.read_text().partition("[[")[0]


async def code_of_subscribe(edge: ServiceProcess, channel: str) -> int:
    async with connected(edge, "carol") as client:
        return int((await client.ask(subscribe={"channel": channel})).get("error", {"code": 0})["code"])


@BOTH_BROKERS
async def test_a_new_namespace_is_usable_without_a_reconnect(edge, alice):
    assert await code_of_subscribe(edge, "kept:y") == 102
    said = await edge.reload(head(edge) + LIVE + KEPT)
    assert said == "reloaded: channel.namespaces"
    await alice.subscribe("kept:x")
    await alice.publish("kept:x", 1)
    await eventually(lambda: published(alice, "kept:x") == [1])
    answer = (await api(edge, "history", {"channel": "kept:x", "limit": -1})).json()
    assert [each["data"] for each in answer["result"]["publications"]] == [1]


async def test_new_permissions_hold_for_the_next_command_of_a_client_that_is_there(edge, alice):
    await edge.reload(head(edge) + LIVE.replace("allow_publish_for_client = true", ""))
    with pytest.raises(CommandFailed) as refused:
        await alice.publish("live:x", 1)
    assert refused.value.code == 103
    assert await edge.reload(head(edge) + LIVE) == "reloaded: channel.namespaces"


async def test_an_origin_is_added(edge, alice):
    page = {"origin": "https://app.example.com"}

    async def may_connect() -> bool:
        try:
            async with wire_client(edge, **page):
                return True
        except websockets.InvalidStatus as error:
            assert error.response.status_code == 403
            return False

    assert not await may_connect()
    await edge.reload('[client]\nallowed_origins = ["https://app.example.com"]\n' + edge.config.read_text())
    assert await may_connect()


async def test_the_secret_of_tokens_is_read_anew_from_its_file_and_keys_are_added_and_removed(edge, alice, secret):
    """A key is rotated: both hold for a while, then the old one does no more."""

    async def may_connect(signed: str) -> bool:
        async with wire_client(edge) as client:
            await client.send({"id": 1, "connect": {"token": signed}})
            try:
                return "connect" in await client.reply(1)
            except websockets.ConnectionClosed:
                return False

    by_new = jwt.encode({"sub": "bob"}, NEW_SECRET, algorithm="HS256", headers={"kid": "new"})
    assert not await may_connect(by_new)
    key = f'[[client.token_keys]]\nalgorithm = "HS256"\nkid = "new"\nsecret = "{NEW_SECRET}"\n'
    await edge.reload(edge.config.read_text() + key)
    assert await may_connect(by_new) and await may_connect(token("bob"))
    secret.write_text("nobody-signs-with-this-secret-any-more")
    assert await edge.reload() == "reloaded: client.token_hmac_secret_key"
    assert await may_connect(by_new) and not await may_connect(token("bob"))


async def test_api_keys_are_added_and_removed(edge, alice):
    publication = {"channel": "live:x", "data": 1}
    keys = '[[http_api.keys]]\nname = "shop"\nkey = "the key of the shop"\nscope = "publish"\n'
    assert (await api(edge, "publish", publication, "the key of the shop")).status_code == 401
    before = edge.config.read_text()
    assert await edge.reload(before + keys) == "reloaded: http_api.keys"
    assert (await api(edge, "publish", publication, "the key of the shop")).status_code == 200
    refused = await api(edge, "history", {"channel": "live:x"}, "the key of the shop")
    assert refused.status_code == 403 and "shop" in refused.json()["error"]["message"]
    await edge.reload(before)
    assert (await api(edge, "publish", publication, "the key of the shop")).status_code == 401
    assert "the key of the shop" not in edge.log()


async def test_a_limit_is_changed_for_clients_that_are_there(edge, alice):
    for number in range(3):
        await alice.publish("live:x", number)
    await edge.reload(edge.config.read_text() + '[limits]\npublishes = "1/1h"\n')
    await alice.publish("live:x", "the one that is left")
    with pytest.raises(CommandFailed) as refused:
        await alice.publish("live:x", "one too many")
    assert refused.value.code == 111
    await edge.reload(edge.config.read_text().partition("[limits]")[0])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("[[channel.namespaces", "is not TOML"),
        ('[limits]\npublishes = "often"\n', "limits.publishes: expected a rate"),
        ("[edge]\ndrain_rate = 7\n[log]\nlevel = 'info'\n", "only a restart changes edge.drain_rate"),
        ("[client]\nallowed_origins = ['example.com']\n", "no browser sends an origin that matches"),
    ],
)
async def test_a_reload_that_is_refused_says_why_and_changes_nothing(edge, alice, change, why):
    before = await series(edge, SUCCEEDED_AT)
    good = edge.config.read_text()
    said = await edge.reload(head(edge) + LIVE + KEPT + change)
    assert said.startswith("reload refused, the settings from before stay: ") and why in said
    assert (await series(edge, SUCCESSFUL), await series(edge, SUCCEEDED_AT)) == (0, before)
    assert await code_of_subscribe(edge, "kept:x") == 102
    assert await edge.reload(good) == "reloaded: nothing has changed"
    assert await series(edge, SUCCESSFUL) == 1 and await series(edge, SUCCEEDED_AT) > before


async def test_when_nats_refuses_the_streams_of_a_namespace_nothing_changes(edge, alice):
    too_large = KEPT.replace("16_777_216", "900_000_000_000_000")
    said = await edge.reload(head(edge) + LIVE + too_large)
    assert "refused" in said and "insufficient storage" in said
    assert await code_of_subscribe(edge, "kept:x") == 102
    await edge.reload(head(edge) + LIVE + KEPT)
    await alice.subscribe("kept:y")


@BOTH_BROKERS
async def test_the_subscriptions_of_a_namespace_that_is_gone_end_and_no_others(edge, alice):
    await edge.reload(head(edge) + LIVE + KEPT)
    await alice.subscribe("kept:x")
    await edge.reload(head(edge) + LIVE)
    (end,) = await eventually(
        lambda: [each for each in alice.events if each["event"] == "unsubscribed" and each["channel"] == "kept:x"]
    )
    assert end["code"] == 2000
    assert await code_of_subscribe(edge, "kept:x") == 102
    assert (await api(edge, "publish", {"channel": "kept:x", "data": 1})).json()["error"]["code"] == 102
    if edge.name != "alone":
        await eventually(lambda: "NATS has streams of namespaces that have no history" in edge.log())
    # it comes back, on NATS with what it had
    await edge.reload(head(edge) + LIVE + KEPT)
    async with connected(edge) as other:
        assert (await other.subscribe("kept:x"))["recoverable"]


@BOTH_BROKERS
async def test_where_history_is_switched_on_clients_subscribe_again_by_themselves(edge, alice):
    await edge.reload(head(edge) + LIVE + HISTORY)
    await eventually(lambda: [each.get("recoverable") for each in alice.events if each["event"] == "subscribed"][1:])
    assert [each["recoverable"] for each in alice.events if each["event"] == "subscribed"] == [False, True]
    await alice.publish("live:x", 1)
    answer = (await api(edge, "history", {"channel": "live:x", "limit": -1})).json()
    assert [each["data"] for each in answer["result"]["publications"]] == [1]


async def test_the_metrics_service_reloads_nothing_and_is_not_ended(services, nats_server):
    metrics = await services.start("metrics", {"FAIRLEAD_NATS_URL": nats_server.url}).ready()
    assert await metrics.reload() == "reloaded: nothing has changed"
    assert "only a restart changes capacity.min_edges" in await metrics.reload("[capacity]\nmin_edges = 2\n")
    assert await series(metrics, SUCCESSFUL) == 0
    assert await metrics.stop() == 0


async def test_a_file_that_was_read_and_is_gone_refuses_a_reload(services):
    """Also the one that is read without being named, which may be absent at the start."""
    edge = await start_edge_in_memory(services, "alone", "", FAIRLEAD_CONFIG="").ready()
    assert await edge.reload() == "reloaded: nothing has changed"
    file = edge.config.with_name("fairlead.toml")
    file.write_text(LIVE)
    assert await edge.reload() == "reloaded: channel.namespaces"
    file.unlink()
    said = await edge.reload()
    assert "reload refused" in said and "fairlead.toml: there is no such file" in said
    assert await code_of_subscribe(edge, "live:x") == 0


async def test_a_pipe_in_place_of_the_file_holds_up_neither_a_reload_nor_the_end(services):
    edge = await start_edge_in_memory(services, "alone").ready()
    edge.config.unlink()
    os.mkfifo(edge.config)
    assert "it is a pipe" in await edge.reload()
    assert await edge.stop() == 0
