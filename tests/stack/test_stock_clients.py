"""All stock clients on the running stack, through Traefik, while edges are killed and drained."""

from __future__ import annotations

import asyncio
import functools
import itertools
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.stack.checkout import ROOT, Checkout
from tests.stack.fairlead import Fairlead
from tests.support.edges import in_seconds, token
from tests.support.eventually import eventually
from tests.support.stock_clients import KINDS, StockClient, StockClients, data_of, events_of, sees

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("stack") / "checkout", edges=2)
    yield made
    made.make("down")


@pytest.fixture
async def clients(checkout: Checkout) -> AsyncIterator[dict[str, StockClient]]:
    """Two clients of each kind in the channel chat:stock, one by either way through Traefik."""
    fairlead = checkout.up()
    async with StockClients() as stock:
        made = {}
        for kind, passed_through in itertools.product(KINDS, (False, True)):
            claims = token(kind, fairlead.token_key, exp=in_seconds(600))
            made[f"{kind} {passed_through}"] = stock.make(kind, fairlead.websocket_url(passed_through), token=claims)
        for client in made.values():
            await client.connect()
            await client.subscribe("chat:stock")
        yield made


async def publish(fairlead: Fairlead, first: int, count: int) -> list[int]:
    """Publishes as a backend should: repeats with the same key until it is acknowledged."""
    numbers = list(range(first, first + count))
    for number in numbers:
        call = {"channel": "chat:stock", "data": number, "idempotency_key": str(number)}
        await eventually(functools.partial(fairlead.call, "publish", **call))
    return numbers


async def test_all_get_everything_while_edge_after_edge_is_killed_and_drained(checkout, clients):
    fairlead: Fairlead = checkout.fairlead()
    published = await publish(fairlead, 0, 5)
    for end in ("kill", "terminate", "kill"):
        for name in ("edge-1", "edge-2"):
            victim = checkout.process(name)
            getattr(victim, end)()
            published += await publish(fairlead, len(published), 5)
            await eventually(functools.partial(_is_back, checkout, name, victim.pid), within_s=30)
    published += await publish(fairlead, len(published), 5)
    for client in clients.values():
        await sees(client, "publication", "chat:stock", len(published), within_s=30)
        assert data_of(client, "chat:stock") == published
        assert not events_of(client, "disconnected")
        resumed = [event["recovered"] for event in events_of(client, "subscribed") if event["was_recovering"]]
        assert resumed and all(resumed)


async def _is_back(checkout: Checkout, name: str, old_pid: int) -> bool:
    """Whether supervisord has brought the edge back, and it is ready."""
    port = checkout.ports["EDGE_PORT"] + int(name.removeprefix("edge-")) - 1
    async with httpx.AsyncClient(trust_env=False) as http:
        ready = await http.get(f"http://127.0.0.1:{port}/readyz")
    return checkout.process(name).pid != old_pid and ready.status_code == 200


async def test_the_example_of_the_readme_works(checkout):
    fairlead = checkout.up()
    examples = checkout.root / "docs/examples"
    shutil.copytree(ROOT / "docs/examples", examples)
    url = fairlead.websocket_url()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "docs/examples/two_clients.py", url],
        cwd=checkout.root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "alice got" in done.stdout and "from bob: {'text': 'hello 3 from bob'}" in done.stdout
