"""The service, PostgreSQL and NATS are killed with -9 at random under load: after each kill, while edges write on,
`verify` finds that every row of every model is what the log says.

KILL_ROUNDS=200 makes a longer run, KILL_SEED=7 the same kills and the same facts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from proto.events import (
    CaughtUp,
    Closed,
    EdgeStarted,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    encode_batch,
)
from services.sessions.rebuilding.model_tables import ALL, tables_of
from tests.sessions.database import read_letters, read_rows
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.rebuilding.shop import folded, settings_of, verified
from tests.sessions.running import start
from tests.support.eventually import eventually
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
PACE_S = 0.05
"""Between two batches of an edge: what a slow machine writes while it is checked would make the next check longer."""
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


class Load:
    """Facts of one edge's clients, by chance, some batches a second. The same for the same seed, but for times."""

    def __init__(self, edge: EdgeDouble, seed: int) -> None:
        self._edge = edge
        self._chance = random.Random(seed)
        self._open: list[str] = []
        self.opened: list[str] = []
        self.acknowledged: set[str] = set()  # of these, those that NATS has said to have
        self.batches = 0
        self._over = asyncio.Event()

    def end(self) -> None:
        """It ends after the batch that it writes now. A cancellation may be lost: `asyncio.wait_for` of Python 3.11, by
        which nats-py awaits an answer, forgets one that comes at the same time as the answer."""
        self._over.set()

    async def run(self) -> None:
        """Writes until `end`. A batch that NATS did not acknowledge is written again."""
        await self._write([EdgeStarted(at=_now(), software="1.0")])
        while not self._over.is_set():
            await self._write([fact for _ in range(self._chance.randint(1, 12)) for fact in self._facts()])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), PACE_S)

    async def _write(self, facts: list[SessionEvent]) -> None:
        batch = self._edge.batch(*facts)
        await eventually(lambda: self._edge.store(encode_batch(batch), batch.message_id), within_s=60)
        self.acknowledged = set(self.opened)
        self.batches += 1

    def _facts(self) -> list[SessionEvent]:
        chance, at = self._chance, _now()
        if not self._open or chance.random() < 0.3:
            name, user = f"{self._edge.instance}-{len(self.opened)}", f"user-{chance.randint(0, 40)}"
            self._open.append(name)
            self.opened.append(name)
            return [
                Opened(at=at, connection=name, user=user, client_name="js", client_version=str(chance.randint(1, 3)))
            ]
        name, channel = chance.choice(self._open), f"room:{chance.randint(0, 9)}"
        match chance.randint(0, 7):
            case 0 | 1:
                self._open.remove(name)
                return [Closed(at=at, connection=name, code=chance.choice([1000, 1001, 1006, 3503]), by="client")]
            case 2 | 3:
                return [Subscribed(at=at, connection=name, channel=channel)]
            case 4:
                return [Unsubscribed(at=at, connection=name, channel=channel)]
            case 5:
                return [Refused(at=at, action="subscribe", code=103, connection=name, channel=channel)]
            case 6:
                return [Lagged(at=at, connection=name, waiting=9), CaughtUp(at=at, connection=name, lagged_ms=2)]
            case _:
                return [Refreshed(at=at, connection=name, expires_at=at + 60_000)]


async def test_kills_at_random_lose_nothing_and_double_nothing(
    services: Services,
    nats_server: NatsServer,
    postgres: Postgres,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(SEED)
    service = await start(services, nats_server, postgres).ready(60)
    kinds: list[Callable[[], None]] = [
        lambda: _again(service.kill9, service.start),
        lambda: _again(postgres.kill9, postgres.start),
        lambda: _again(nats_server.kill9, nats_server.start),
    ]
    kills = [*chance.sample(kinds, len(kinds)), *chance.choices(kinds, k=max(0, ROUNDS - len(kinds)))][:ROUNDS]

    async def check() -> None:
        assert await verified(settings_of(nats_server, postgres)), f"KILL_SEED={SEED}\n{capsys.readouterr().out}"
        said = capsys.readouterr().out
        assert f"of {len(tables_of(ALL))} tables" in said and "not compared" not in said, said

    async with EdgeDouble(nats_server.url, "i1") as one, EdgeDouble(nats_server.url, "i2", "edge-2") as two:
        loads = [Load(one, SEED), Load(two, SEED + 1)]
        await one.write()  # makes the stream
        writing = [asyncio.create_task(load.run()) for load in loads]
        try:
            for kill in kills:
                await _go_on(loads, chance.randint(5, 60))
                await asyncio.to_thread(kill)
                await _go_on(loads, 5)
                await service.ready(60)
                if kill is not kills[-1]:
                    await check()
        finally:
            for load in loads:
                load.end()
            await asyncio.wait(writing)
        for task in writing:
            task.result()  # the edges never noticed
        await folded(nats_server, postgres)
    await check()
    assert await read_letters(postgres.url) == []
    found = (await read_rows(postgres.url)).connections.keys()
    for load in loads:
        assert load.acknowledged <= found
    assert found <= {name for load in loads for name in load.opened}


async def _go_on(loads: Sequence[Load], batches: int) -> None:
    """Waits until so many more are stored."""
    wanted = sum(load.batches for load in loads) + batches
    await eventually(lambda: sum(load.batches for load in loads) >= wanted, within_s=60)


def _again(kill: Callable[[], None], start: Callable[[], object]) -> None:
    kill()
    start()


def _now() -> int:
    return int(time.time() * 1000)
