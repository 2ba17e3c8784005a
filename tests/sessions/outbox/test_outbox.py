"""The outbox of running services: from a transaction to a client, what an operator does, and kills of every process."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import defaultdict
from functools import partial
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from tests.sessions.outbox.table import insert, make_outbox, rows_of
from tests.sessions.running import API_KEY, metric
from tests.support.edges import api, connected, start_edge, start_pair
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

log = logging.getLogger(__name__)

pytestmark = pytest.mark.integration


def start_relay(services: Services, nats: NatsServer, postgres: Postgres, url: str, name: str = "") -> ServiceProcess:
    variables = {
        "NATS_URL": nats.url,
        "POSTGRES_URL": postgres.url,
        "OUTBOX_URL": url,
        "OUTBOX_POLL_INTERVAL": "200ms",
        "HTTP_API_KEY": API_KEY,
    }
    return services.start("sessions", {f"FAIRLEAD_{key}": value for key, value in variables.items()}, name=name)


async def remark(service: ServiceProcess) -> str:
    async with http_client() as http:
        return (await http.get(f"{service.url}/readyz", timeout=5)).text


async def empty(url: str) -> None:
    assert await rows_of(url) == []


async def test_what_a_transaction_commits_reaches_subscribers_and_what_cannot_is_set_aside(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    url = postgres.empty_database()
    relay = await start_relay(services, nats_server, postgres, url).ready()
    assert "outbox install" in await eventually_says(relay, "outbox"), "it works on, and says what it lacks"
    assert (await relay.command("outbox", "install")).stdout == "the outbox is there\n"
    await eventually(lambda: ready_for_all(relay))
    edge = await start_edge(services, nats_server, "edge-a").ready()
    async with connected(edge, "reader") as reader:
        for channel in ("chat:x", "live:x"):
            await reader.subscribe(channel)
        await insert(url, "chat:x", '{"order": 17}', '{"order": 18}')
        assert await reader.publications("chat:x", 2) == [{"order": 17}, {"order": 18}]
        await insert(url, "live:x", "1")
        assert await reader.publications("live:x", 1) == [1]
        await insert(url, "nowhere:x", '"\\u001b[2J"')
        await insert(url, "chat:x", "3")
        assert await reader.publications("chat:x", 1) == [3]
        await eventually(lambda: empty(url))
        assert await metric(relay, "fairlead_sessions_outbox_set_aside_total") == 1

        listed = await relay.command("outbox", "list", "--json")
        (aside,) = json.loads(listed.stdout)
        assert (aside["channel"], aside["code"], aside["reason"]) == ("nowhere:x", 102, "unknown channel (102)")
        which = str(aside["id"])
        table = (await relay.command("outbox")).stdout.splitlines()
        assert table[0].split()[0] == "ROW" and table[1].split()[0] == which and len(table) == 2
        shown = (await relay.command("outbox", "show", which)).stdout
        assert aside["message_id"] in shown and "\\u001b[2J" in shown
        whole = json.loads((await relay.command("outbox", "show", which, "--json")).stdout)
        assert whole == {**aside, "data": "\x1b[2J", "tags": None}
        assert (await relay.command("outbox", "replay", "999")).returncode == 1
        assert (await relay.command("outbox", "replay", which)).stdout == "put back 1\n"
        await eventually(lambda: set_aside_again(url, aside))
        assert (await relay.command("outbox", "delete", "all")).stdout == "deleted 1\n"
        assert (await relay.command("outbox")).stdout == "no rows are set aside\n"
    assert "CREATE TABLE IF NOT EXISTS fairlead_outbox" in (await relay.command("outbox", "sql")).stdout
    assert await relay.stop() == 0


async def eventually_says(service: ServiceProcess, word: str) -> str:
    async def said() -> str:
        text = await remark(service)
        assert word in text
        return text

    return await eventually(said)


async def ready_for_all(service: ServiceProcess) -> None:
    assert await remark(service) == "ready\n"


async def set_aside_again(url: str, before: dict[str, Any]) -> None:
    (one,) = await rows_of(url, "fairlead_outbox_set_aside")
    assert (str(one["message_id"]), one["id"] > before["id"]) == (before["message_id"], True)


CHANNELS = [f"big:{number}" for number in range(6)]


LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a transaction fails with when PostgreSQL is killed."""


class Application:
    """Commits transactions with one or two rows, each for the next numbers of a channel, and rolls some back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.committed: dict[str, list[int]] = defaultdict(list)
        self.in_doubt: dict[str, set[int]] = defaultdict(set)  # of commits that were not answered
        self.rolled_back = 0
        self.allowed = 0
        self.done = False

    async def write(self, channel: str, seed: int) -> None:
        choose = random.Random(seed)
        while not self.done:
            try:
                database = await asyncpg.connect(self.url, timeout=5)
            except LOST:
                continue
            try:
                while not self.done:
                    await eventually(self._may_go_on, within_s=60)
                    first = 1 + max([0, *self.committed[channel][-1:], *self.in_doubt[channel]])
                    numbers = list(range(first, first + choose.randint(1, 2)))
                    await self._transaction(database, channel, numbers, committed=choose.random() < 0.8)
            except LOST:
                pass
            finally:
                database.terminate()

    def _may_go_on(self) -> bool:
        return self.done or self.count < self.allowed

    async def _transaction(
        self, database: asyncpg.Connection[asyncpg.Record], channel: str, numbers: list[int], committed: bool
    ) -> None:
        transaction = database.transaction()
        await transaction.start()
        for one in numbers:
            await database.execute("SELECT fairlead_publish($1, $2)", channel, json.dumps(one))
        if not committed:
            await transaction.rollback()
            self.rolled_back += 1
            return
        self.in_doubt[channel].update(numbers)
        await transaction.commit()
        self.in_doubt[channel].difference_update(numbers)
        self.committed[channel] += numbers

    @property
    def count(self) -> int:
        return sum(map(len, self.committed.values()))


@pytest.mark.timeout(180)
async def test_kills_of_every_process_lose_double_and_reorder_nothing(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    url = postgres.empty_database()
    await make_outbox(url)
    edges = list(await start_pair(services, nats_server))
    relays = [start_relay(services, nats_server, postgres, url, f"relay-{number}") for number in (1, 2)]
    for relay in relays:
        await relay.ready()
    application = Application(url)
    writers = [asyncio.create_task(application.write(channel, seed)) for seed, channel in enumerate(CHANNELS)]
    kills: dict[str, int] = defaultdict(int)

    async def kill(process: ServiceProcess) -> None:
        process.kill9()
        await process.wait()
        kills[process.service] += 1
        process.start()

    async def more(rows: int) -> None:
        until = application.count + rows
        application.allowed = until + 100  # so that something is going on when the next one is killed
        await eventually(lambda: application.count >= until, within_s=30)

    for process in (*relays, edges[0], relays[0], edges[1], relays[1]):
        await process.ready()
        await more(40)
        await kill(process)
    await more(40)
    nats_server.kill9()
    nats_server.start()
    kills["nats"] += 1
    await more(40)
    await asyncio.to_thread(postgres.kill9)
    await asyncio.to_thread(postgres.start)
    kills["postgres"] += 1
    await more(40)
    application.done = True
    await asyncio.gather(*writers)
    for edge in edges:
        await edge.ready()
    await eventually(lambda: empty(url), within_s=60)
    assert await rows_of(url, "fairlead_outbox_set_aside") == []
    lost = doubled = reordered = 0
    for channel in CHANNELS:
        answer = await eventually(partial(history, edges[0], channel))
        found = [one["data"] for one in answer]
        lost += len(set(application.committed[channel]) - set(found))
        doubled += len(found) - len(set(found))
        reordered += sum(later < before for before, later in pairwise(found))
        sure = [one for one in found if one not in application.in_doubt[channel]]
        assert sure == application.committed[channel]
    assert (lost, doubled, reordered) == (0, 0, 0)
    log.info(
        "kills %s; rows committed %d, transactions rolled back %d; lost %d, doubled %d, out of order %d",
        *(dict(kills), application.count, application.rolled_back, lost, doubled, reordered),
    )


async def history(edge: ServiceProcess, channel: str) -> list[dict[str, Any]]:
    answer = (await api(edge, "history", {"channel": channel, "limit": -1})).json()
    found: list[dict[str, Any]] = answer["result"]["publications"]
    return found
