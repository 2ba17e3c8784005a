"""Which backend answers what."""

from __future__ import annotations

from services.edge.backend.backend import Caller
from services.edge.backend.backends import Backends
from services.edge.backend_settings import RPCNamespace, RPCSection
from tests.support.function_backend import FunctionBackend

ANYBODY = Caller()


def named(name: str) -> FunctionBackend:
    methods = ("greet", "orders:list", "orders", "orders.list", "other:x", "")
    return FunctionBackend({method: lambda data, caller: name.encode() for method in methods})


async def test_an_rpc_goes_to_the_backend_of_its_namespace_or_of_its_very_name() -> None:
    rpc = RPCSection(backend="app", namespaces=[RPCNamespace(name="orders", backend="shop")])
    backends = Backends({"nats": named("nats"), "app": named("app"), "shop": named("shop")}, rpc)
    for method, name in {
        "orders:list": "shop",
        "orders": "shop",
        "orders.list": "app",
        "other:x": "app",
        "greet": "app",
        "": "app",
    }.items():
        assert backends.of_method(method) == name, method
        assert await backends.call(method, b"", ANYBODY, 1.0) == name.encode()


async def test_without_a_choice_everything_goes_to_nats_and_messages_always_do() -> None:
    nats, app = named("nats"), named("app")
    backends = Backends({"nats": nats, "app": app})
    assert await backends.call("greet", b"", ANYBODY, 1.0) == b"nats"
    Backends({"nats": nats, "app": app}, RPCSection(backend="app")).send(b"1", ANYBODY)
    assert nats.sent == [(b"1", ANYBODY)] and app.sent == []
    assert backends.named("app") is app and backends.names == ["nats", "app"]
