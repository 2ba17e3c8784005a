"""SIGHUP: backends move, get other secrets, come and go, while clients stay connected."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fairlead import verify
from tests.support.edges import start_edge_in_memory, wire_client
from tests.support.http_backend import Asked, answer, http_double
from tests.support.processes import Services

pytestmark = pytest.mark.integration


def toml(*backends: str, connect: str = "app", rpc: str = "app", **namespaces: str) -> str:
    """A configuration whose namespaces have the subscribe hook of these backends."""
    lines = ["[client]", "connect_hook = true", f'connect_backend = "{connect}"', "[rpc]", f'backend = "{rpc}"']
    for name, backend in namespaces.items():
        lines += ["[[channel.namespaces]]", f'name = "{name}"', "subscribe_hook = true"]
        lines += [f'subscribe_backend = "{backend}"']
    return "\n".join((*lines, *backends))


def table(name: str, url: str, secret: str) -> str:
    return f"""[[backends]]
name = "{name}"
url = "{url}/{{event}}"
secret = "{secret}"
http_headers = ["Cookie"]"""


OLD, NEW = "the old secret of the tests", "the new secret of the tests"


def application(secret: str, name: str) -> Callable[[Asked], bytes]:
    """Answers what is signed with this secret. RPCs get its name."""

    def answers(asked: Asked) -> bytes:
        verify(secret, asked.headers.get("fairlead-signature"), asked.body)
        return answer({"result": {"user": "56"} if asked.path == "/connect" else {"data": name}})

    return answers


async def test_a_backend_moves_and_others_come_and_go_while_clients_stay(services: Services) -> None:
    async with http_double(application(OLD, "a")) as a, http_double(application(NEW, "b")) as b:
        on_a, on_b = table("app", a.url, OLD), table("app", b.url, NEW)
        shop = table("shop", a.url, OLD)
        edge = await start_edge_in_memory(services, "alone", toml(on_a, chat="app")).ready()
        async with wire_client(edge, additional_headers={"Cookie": "sessionid=56"}) as client:

            async def who() -> str:
                return str((await client.ask(rpc={"method": "who"}))["rpc"]["data"])

            await client.ask(connect={})
            await client.subscribe("chat:1")
            assert await who() == "a"

            assert await edge.reload(toml(on_b, chat="app")) == "reloaded: backends"
            await client.subscribe("chat:2")
            assert await who() == "b"
            assert b.asked[0].headers["cookie"] == "sessionid=56"
            assert [each.path for each in a.asked] == ["/connect", "/subscribe", "/rpc"], "and nothing since"

            said = await edge.reload(toml(on_b, shop, rpc="shop", connect="shop", chat="app", shop="shop"))
            assert said == "reloaded: client.connect_backend, channel.namespaces, backends, rpc.backend"
            await client.subscribe("shop:1")
            assert a.asked[-1].path == "/subscribe" and await who() == "a"
            async with wire_client(edge) as other:
                await other.ask(connect={})
            assert a.asked[-1].path == "/connect"

            said = await edge.reload(toml(on_b, rpc="shop", chat="app"))
            assert said.startswith("reload refused") and "[rpc] backend: expected" in said and "'shop'" in said
            assert await who() == "a", "all or nothing"
        assert "secret of the tests" not in edge.log()
