"""The package for applications on real edges: its four clients, its tokens, and a publish while edges come and go."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest

from deploy.processes.ports import free_port
from fairlead import AsyncFairlead, CallRefused, Fairlead, Position, Tokens, Unavailable, client_nats
from fairlead.client_nats import AsyncNatsFairlead, NatsFairlead
from proto import subjects
from tests.support.edges import API_KEY, SECRET, api, connected, start_edge, wire_client

pytestmark = [pytest.mark.integration, pytest.mark.once]

KINDS = ("blocking HTTP", "HTTP", "blocking NATS", "NATS")


class Caller:
    """Calls any of the four clients from a test, those that block in a thread."""

    def __init__(self, fairlead: Any) -> None:
        self.fairlead = fairlead

    async def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        method = getattr(self.fairlead, name)
        if inspect.iscoroutinefunction(method):
            return await method(*arguments, **options)
        return await asyncio.to_thread(method, *arguments, **options)


@pytest.fixture(params=KINDS)
async def caller(request, shared_nats, shared_edge) -> AsyncIterator[Caller]:
    match request.param:
        case "blocking HTTP":
            made = Caller(Fairlead(shared_edge.url, API_KEY))
        case "HTTP":
            made = Caller(AsyncFairlead(shared_edge.url, API_KEY))
        case "blocking NATS":
            made = Caller(NatsFairlead(shared_nats.url))
        case _:
            connection = await nats.connect(shared_nats.url)
            made = Caller(AsyncNatsFairlead(connection))
    yield made
    await made.ask("close")
    if request.param == "NATS":
        assert connection.is_connected, "it is the application's own"
        await connection.close()


async def test_a_publish_is_stored_once_and_received(caller, shared_pair, x):
    channel = f"chat:{x}"
    async with connected(shared_pair[1]) as reader:
        await reader.subscribe(channel)
        stored = await caller.ask("publish", channel, {"text": "zoë"}, tags={"k": "v"}, idempotency_key="row 7")
        again = await caller.ask("publish", channel, {"text": "zoë"}, idempotency_key="row 7")
        assert stored == again and stored.offset > 0 and stored.epoch
        next_one = await caller.ask("publish", channel, 2)
        assert next_one.offset > stored.offset
        pub = (await reader.push(channel))["pub"]
        assert pub == {"data": {"text": "zoë"}, "tags": {"k": "v"}, "offset": stored.offset}
        assert await reader.publications(channel, 1) == [2]
    assert await caller.ask("publish", f"live:{x}", {"n": 1}) == Position()


async def test_a_broadcast_tells_the_outcome_of_each_channel(caller, x):
    stored, refused = await caller.ask("broadcast", [f"chat:{x}", f"nope:{x}"], {"n": 1})
    assert isinstance(stored, Position) and stored.offset > 0
    assert isinstance(refused, CallRefused) and refused.code == 102


async def test_who_is_in_a_channel_and_any_other_method(caller, shared_edge, x):
    async with connected(shared_edge, f"alice-{x}") as alice:
        await alice.subscribe(f"lobby:{x}")
        (member,) = await caller.ask("presence", f"lobby:{x}")
        assert member.user == f"alice-{x}" and member.client
        assert (await caller.ask("call", "presence_stats", channel=f"lobby:{x}"))["num_users"] == 1
        assert await caller.ask("call", "disconnect", user=f"alice-{x}") == {}
        assert (await alice.closed())[0] == 3503


async def test_a_call_that_is_refused_says_why(caller, x):
    with pytest.raises(CallRefused) as refused:
        await caller.ask("publish", f"nope:{x}", 1)
    assert (refused.value.method, refused.value.code) == ("publish", 102)
    with pytest.raises(CallRefused):
        await caller.ask("presence", f"chat:{x}")


async def test_a_wrong_key_is_refused(shared_edge):
    async with AsyncFairlead(shared_edge.url, "another-key") as fairlead:
        with pytest.raises(CallRefused) as refused:
            await fairlead.publish("chat:x", 1)
    assert refused.value.code == 401


async def test_tokens_let_a_user_connect_and_subscribe(shared_edge, x):
    tokens = Tokens(SECRET)
    async with wire_client(shared_edge) as client:
        admitted = await client.ask(connect={"token": tokens.connection("alice", channels=[f"chat:{x}"])})
        assert list(admitted["connect"]["subs"]) == [f"chat:{x}"] and admitted["connect"]["expires"]
        token = tokens.subscription("alice", f"$chat:{x}")
        assert "subscribe" in await client.ask(subscribe={"channel": f"$chat:{x}", "token": token})
        await client.send({"id": 9, "subscribe": {"channel": f"$chat:other-{x}", "token": token}})
        assert (await client.closed())[0] == 3500


@pytest.mark.parametrize("over", ["HTTP", "NATS"])
async def test_a_publish_waits_for_an_edge_and_is_stored_once(services, nats_server, over):
    edge = await start_edge(services, nats_server, "edge-a").ready()
    fairlead = (
        Fairlead(edge.url, API_KEY, timeout_s=20) if over == "HTTP" else NatsFairlead(nats_server.url, timeout_s=20)
    )
    caller = Caller(fairlead)
    await caller.ask("publish", "chat:x", 0)
    edge.kill9()
    await edge.wait()
    publishing = [asyncio.create_task(caller.ask("publish", "chat:x", number)) for number in (1, 2, 3)]
    edge.start()
    offsets = {(await task).offset for task in publishing}
    assert len(offsets) == 3
    history = (await api(edge, "history", {"channel": "chat:x", "limit": -1})).json()["result"]["publications"]
    assert sorted(each["data"] for each in history) == [0, 1, 2, 3]
    await caller.ask("close")


async def test_without_nats_a_call_ends_in_time(free_address):
    caller = Caller(NatsFairlead(free_address, timeout_s=0.3))
    with pytest.raises(Unavailable):
        await caller.ask("publish", "chat:x", 1)
    await caller.ask("close")


@pytest.fixture
def free_address() -> str:
    return f"nats://127.0.0.1:{free_port()}"


FORKS = """
import os, sys
from fairlead.client_nats import NatsFairlead
fairlead = NatsFairlead(sys.argv[1])
first = fairlead.publish(sys.argv[2], "parent").offset
child = os.fork()
if child == 0:
    os._exit(0 if fairlead.publish(sys.argv[2], "child").offset > first else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert fairlead.publish(sys.argv[2], "parent again").offset > first
fairlead.close()
"""


async def test_a_server_that_forks_its_workers_can_use_nats(shared_nats, shared_edge, x):
    command = [sys.executable, "-W", "ignore", "-c", FORKS, shared_nats.url, f"chat:{x}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    history = (await api(shared_edge, "history", {"channel": f"chat:{x}", "limit": -1})).json()["result"][
        "publications"
    ]
    assert [each["data"] for each in history] == ["parent", "child", "parent again"]


def test_the_subject_of_a_call_is_the_one_that_edges_listen_to():
    assert subjects.api_method(client_nats._METHODS + "publish") == "publish"
