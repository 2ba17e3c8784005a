"""`python -m services.edge token` and `publish`, with the settings of an edge that runs, as in its container."""

from __future__ import annotations

import json

import pytest

from tests.support.edges import start_edge_in_memory, wire_client
from tests.support.processes import ServiceProcess, Services


@pytest.fixture
async def edge(services: Services) -> ServiceProcess:
    return await start_edge_in_memory(services, FAIRLEAD_CLIENT_TOKEN_AUDIENCE="chat").ready()


async def test_a_token_lets_in_and_a_publication_arrives(edge: ServiceProcess) -> None:
    made = await edge.command("token", "alice", "--ttl", "5m")
    assert (made.returncode, made.stderr) == (0, "")
    async with wire_client(edge) as client:
        assert "client" in (await client.ask(connect={"token": made.stdout.strip()}))["connect"]
        await client.ask(subscribe={"channel": "room:x"})
        assert "join" in await client.push("room:x"), "its own"

        published = await edge.command("publish", "room:x", '{"text": "hi"}')

        assert (published.returncode, published.stderr) == (0, "")
        assert json.loads(published.stdout)["offset"] == 1
        assert await client.publications("room:x", 1) == [{"text": "hi"}]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("token", " "), 2, "a user is required, such as alice"),
        (("token", "alice", "--ttl", "soon"), 2, "expected a duration"),
        (("publish", "room:x", "hi"), 2, 'expected JSON, such as \'{"text": "hi"}\''),
        (("publish", "nowhere:x", "1"), 1, "refused with error 102: unknown channel"),
    ],
)
async def test_what_cannot_be_done_says_why(
    edge: ServiceProcess, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = await edge.command(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_an_edge_that_does_not_run_is_named_and_a_wrong_key_is_refused(
    services: Services, edge: ServiceProcess
) -> None:
    other = start_edge_in_memory(services, "other", FAIRLEAD_EDGE_PORT=str(edge.port), FAIRLEAD_HTTP_API_KEY="another")
    assert await other.wait() != 0, "its port is taken, so its commands reach the first one"
    refused = await other.command("publish", "room:x", "1")
    assert refused.returncode == 1 and "refused with status 401" in refused.stderr

    await edge.stop()

    gone = await edge.command("publish", "room:x", "1")
    assert gone.returncode == 1
    assert f"the edge at 127.0.0.1:{edge.port} does not answer" in gone.stderr
