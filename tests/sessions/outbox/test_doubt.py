"""Rows that a relay may have published long before, when JetStream has forgotten their keys: they are looked up."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.sessions.database import execute
from tests.sessions.outbox.table import make_outbox, rows_of
from tests.sessions.outbox.test_outbox import empty, history, start_relay
from tests.support.edges import api, start_edge
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_keys import forget_ids
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

STREAMS = ("CH_chat_0", "CH_chat_1")


async def publish(edge: ServiceProcess, channel: str, data: object, key: str) -> dict[str, Any]:
    body = {"channel": channel, "data": data, "idempotency_key": key}
    result: dict[str, Any] = (await api(edge, "publish", body)).json()["result"]
    return result


async def forget(nats: NatsServer, edge: ServiceProcess, channel: str) -> None:
    """Returns once a key that was used is not known any more, as after five minutes."""
    async with linked(nats.url) as link:
        for stream in STREAMS:
            await forget_ids(link, stream)

        first = await publish(edge, channel, "probe", "probe")

        async def forgotten() -> None:
            await link.stream_manager().purge_stream("KEYS")
            assert await publish(edge, channel, "probe", "probe") != first

        await eventually(forgotten)
        await link.stream_manager().purge_stream("KEYS")


async def test_a_row_that_was_left_behind_is_published_once_however_late_that_is_found(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    url = postgres.empty_database()
    await make_outbox(url)
    edge = await start_edge(services, nats_server, "edge-a").ready()
    published, live = str(uuid.uuid4()), str(uuid.uuid4())
    # What a relay does that is killed before it has deleted the row.
    await publish(edge, "chat:x", {"order": 17}, f"outbox:{published}")
    await publish(edge, "live:x", {"order": 17}, f"outbox:{live}")
    await forget(nats_server, edge, "chat:x")
    await execute(
        url,
        f"""INSERT INTO fairlead_outbox (message_id, channel, data, tried_at) VALUES
        ('{published}', 'chat:x', '{{"order": 17}}', now() - interval '10 min'),
        (gen_random_uuid(), 'chat:x', '{{"order": 18}}', now() - interval '10 min'),
        ('{live}', 'live:x', '{{"order": 17}}', now() - interval '10 min'),
        (gen_random_uuid(), 'chat:x', '{{"order": 19}}', NULL)""",
    )
    relay = await start_relay(services, nats_server, postgres, url).ready()
    await eventually(lambda: empty(url))
    found = [one["data"] for one in await history(edge, "chat:x") if one["data"] != "probe"]
    assert found == [{"order": 17}, {"order": 18}, {"order": 19}]
    (aside,) = await rows_of(url, "fairlead_outbox_set_aside")
    assert (aside["channel"], aside["code"]) == ("live:x", 112)
    assert "it may have been published before" in aside["reason"]
    assert (await relay.command("outbox", "replay", "all")).stdout == "put back 1\n"
    await eventually(lambda: empty(url))
    assert await rows_of(url, "fairlead_outbox_set_aside") == [], "whoever replays it wants it published"
