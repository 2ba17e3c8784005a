"""`make up EDGES=auto`: edges start and drain as the metrics service recommends, and clients miss and double nothing.

Everything is real except the recommendation, which the metrics service reads from a file here: the load that would
change it takes an hour.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import record
from tests.stack.checkout import Checkout
from tests.stack.fairlead import Fairlead
from tests.support.edges import in_seconds, token
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.stock_clients import KINDS, StockClient, StockClients, data_of, events_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

CHANNEL = "chat:scaled"

FROM_A_FILE = """

def capacity_answer(planner: Planner) -> CapacityAnswer:
    import pathlib, time
    recommended = int(pathlib.Path("recommended").read_text())
    return CapacityAnswer(problem=None, at=int(time.time()), recommended_edges=recommended)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """Its metrics service recommends what `recommend` says."""
    made = Checkout(tmp_path / "checkout", edges=2)
    answers = made.root / "services/metrics/answers.py"
    answers.write_text(answers.read_text() + FROM_A_FILE)
    recommend(made, 1)
    yield made
    made.make("down")
    assert made.running() == []


def recommend(checkout: Checkout, edges: int) -> None:
    new = checkout.root / "recommended.new"
    new.write_text(str(edges))
    new.replace(checkout.root / "recommended")


class Talk:
    """Clients in one channel that publish all the time, each publication with a key, so that it may be repeated."""

    def __init__(self, fairlead: Fairlead, stock: StockClients) -> None:
        self._fairlead = fairlead
        self._stock = stock
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False
        self.joined: dict[StockClient, int] = {}  # client -> what was published from then on is for it
        self.published: set[int] = set()

    async def join(self) -> None:
        """Adds a client of each kind, by turns on either way through Traefik, and the other way for the next."""
        ways = itertools.cycle((bool(len(self.joined) // 4), not len(self.joined) // 4))
        for kind, passed_through in zip(KINDS, ways, strict=False):
            claims = token(kind, self._fairlead.token_key, exp=in_seconds(600))
            client = self._stock.make(kind, self._fairlead.websocket_url(passed_through), token=claims)
            await client.connect()
            await client.subscribe(CHANNEL)
            self.joined[client] = next(self._numbers)
            self._tasks.append(asyncio.create_task(self._publish(client)))

    async def end(self) -> None:
        """Returns when every publish that was begun is acknowledged."""
        self._ended = True
        await asyncio.gather(*self._tasks)

    async def _publish(self, client: StockClient) -> None:
        while not self._ended:
            number = next(self._numbers)
            what = {"channel": CHANNEL, "data": number, "idempotency_key": str(number)}
            await eventually(functools.partial(client.rpc, "fairlead.publish", what), within_s=30)
            self.published.add(number)
            await asyncio.sleep(0.15)


async def test_edges_come_and_drain_under_clients_that_talk_all_the_time(checkout: Checkout) -> None:
    done = checkout.make("up", EDGES="auto", EDGES_MIN="1", EDGES_MAX="2")
    assert done.returncode == 0, done.stdout + done.stderr
    await eventually(lambda: states(checkout) == {"edge-1": "ready", "edge-2": "stopped"})  # its report is 1 s old
    async with StockClients() as stock:
        talk = Talk(checkout.fairlead(), stock)
        await talk.join()

        recommend(checkout, 2)
        await eventually(lambda: states(checkout) == {"edge-1": "ready", "edge-2": "ready"}, within_s=30)
        await eventually(functools.partial(traefik_knows, checkout, 2), within_s=30)
        await talk.join()
        on_the_new_one = await eventually(functools.partial(clients_on, checkout, "edge-2"))

        recommend(checkout, 1)
        await eventually(lambda: states(checkout) == {"edge-1": "ready", "edge-2": "stopped"}, within_s=40)
        await talk.end()
        for client, since in talk.joined.items():
            await eventually(functools.partial(has_all, client, {n for n in talk.published if n >= since}), within_s=30)
            doubled = [number for number, times in Counter(data_of(client, CHANNEL)).items() if times > 1]
            assert doubled == []
            assert not events_of(client, "disconnected")
        resumes = [one["recovered"] for client in talk.joined for one in events_of(client, "subscribed", CHANNEL)
                   if one["was_recovering"]]  # fmt: skip
        assert len(resumes) == on_the_new_one and all(resumes)
    status = checkout.make("status").stdout
    assert "edge-2     stopped" in status
    assert "autoscaler: 1 to 2 edges, 1 ready; the metrics service recommends 1" in status
    assert "its last change: draining edge-2: edges running: 2, needed: 1" in status


def states(checkout: Checkout) -> dict[str, str]:
    """Each edge as the autoscaler saw it last."""
    report = record.read_scaling(checkout.folders)
    return dict(report.edges) if report is not None else {}


async def traefik_knows(checkout: Checkout, edges: int) -> None:
    """Asserts that Traefik has read its routes again, those of either way in."""
    async with http_client() as http:
        for way in ("http", "tcp"):
            url = f"http://127.0.0.1:{checkout.ports['TRAEFIK_PORT']}/api/{way}/services/edges@file"
            assert len((await http.get(url)).json()["loadBalancer"]["servers"]) == edges


async def clients_on(checkout: Checkout, edge: str) -> int:
    """How many of the eight clients this edge has, once all are counted. Raises KeyError before it is heard."""
    counts = await checkout.fairlead().clients_by_edge()
    return counts[edge] if sum(counts.values()) == 8 else 0


def has_all(client: StockClient, published: set[int]) -> None:
    assert published - set(data_of(client, CHANNEL)) == set()
