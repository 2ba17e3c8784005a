"""Sessions of thirty stock clients, while an edge, the sessions service and Traefik are killed together."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from tests.stack.checkout import Checkout
from tests.stack.fairlead import Chatter, Fairlead
from tests.support.eventually import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

CLIENTS = 30


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("going-on") / "checkout", edges=3)
    made.up()
    yield made
    made.make("down")
    assert made.running() == []


async def sessions(fairlead: Fairlead, users: Sequence[str]) -> list[tuple[str, int, str]]:
    """The state, the number of connections and the edge of every session of these users: there is one for each."""
    found = []
    for user in users:
        (one,) = (await fairlead.read(f"/users/{user}/sessions"))["sessions"]
        found.append((one["state"], one["connection_count"], one["edge"]))
    return found


@pytest.mark.parametrize("killed_too", [["sessions"], ["sessions", "traefik"]], ids=" and ".join)
async def test_thirty_sessions_stay_thirty(checkout: Checkout, killed_too: list[str]) -> None:
    fairlead, run = checkout.fairlead(), uuid.uuid4().hex[:8]
    users = [f"{run}-{number}" for number in range(CLIENTS)]
    async with AsyncExitStack() as stack:
        clients: list[Chatter] = []
        for user in users:
            clients.append(await stack.enter_async_context(fairlead.client(user)))
            await clients[-1].join(f"chat:{run}")

        async def all_open() -> list[tuple[str, int, str]]:
            found = await sessions(fairlead, users)
            assert {state for state, _, _ in found} == {"open"}
            return found

        before = await eventually(all_open, within_s=30)
        edge = before[0][2]
        on_it = [number for number, (_, _, its) in enumerate(before) if its == edge]
        assert 5 <= len(on_it) < CLIENTS, "the balancer spreads them"

        checkout.process(edge).kill()
        await eventually(lambda: any(clients[number].resumes for number in on_it))  # the first one is back
        for name in killed_too:
            checkout.process(name).kill()

        async def gone_on() -> None:
            found = await sessions(fairlead, users)
            assert {state for state, _, _ in found} == {"open"}
            assert all(found[number][1] >= 2 and found[number][2] != "" for number in on_it), "another connection"

        await eventually(gone_on, within_s=60)
        for number in on_it:
            detail = await fairlead.read(f"/users/{users[number]}/sessions")
            (session,) = detail["sessions"]
            parts = (await fairlead.read(f"/sessions/{session['id']}"))["connections"]
            assert parts[-1]["edge"] == edge and parts[-1]["close_reason"] == "edge lost"
            assert parts[-1]["closed_at"] <= parts[-2]["opened_at"], "it ended before its client was back"
