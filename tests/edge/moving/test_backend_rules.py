"""Each hook and each RPC keeps the backend that its proxy was, on an edge that has named backends."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.moving import backend_rules
from services.edge.moving.backend_rules import choose_for_clients, choose_for_namespace, rpc_section

BACKENDS: dict[str, dict[str, str]] = {"connect": {}, "subscribe": {}, "rooms": {}, "rpc": {}}
WHERE = "channel.namespaces[chat]"


@pytest.fixture(autouse=True)
def an_edge_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_rules, "kind_of", lambda key: str)


def test_the_hooks_about_connections_have_the_backends_of_their_places() -> None:
    client: dict[str, Any] = {"connect_hook": True, "refresh_hook": True}
    choose_for_clients(client, BACKENDS)
    assert client == {"connect_hook": True, "connect_backend": "connect", "refresh_hook": True}, (
        "refresh has no address"
    )


@pytest.mark.parametrize(("name", "backend"), [("rooms", "rooms"), ("default", "subscribe"), (None, "subscribe")])
def test_a_namespace_names_its_proxy_or_has_the_default_one(name: str | None, backend: str) -> None:
    options: dict[str, Any] = {"subscribe_hook": True}
    choose_for_namespace(options, WHERE, {f"{WHERE}.subscribe_proxy_name": name}, BACKENDS)
    assert options == {"subscribe_hook": True, "subscribe_backend": backend}


def test_a_hook_that_is_off_asks_nobody() -> None:
    options: dict[str, Any] = {"subscribe_hook": False}
    choose_for_namespace(options, WHERE, {f"{WHERE}.subscribe_proxy_name": "rooms"}, BACKENDS)
    assert options == {"subscribe_hook": False}


def test_rpcs_have_the_backends_of_their_namespaces() -> None:
    values: dict[str, Any] = {
        "rpc.without_namespace.proxy_enabled": True,
        "rpc.namespaces[orders].proxy_enabled": True,
        "rpc.namespaces[orders].proxy_name": "rooms",
        "rpc.namespaces[off].proxy_enabled": False,
        "rpc.namespaces[gone].proxy_enabled": True,
        "rpc.namespaces[gone].proxy_name": "of gRPC",
    }
    section = rpc_section(values, BACKENDS)
    assert section == {"backend": "rpc", "namespaces": [{"name": "orders", "backend": "rooms"}]}


def test_an_edge_without_named_backends_asks_on_nats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_rules, "kind_of", lambda key: None)
    assert rpc_section({"rpc.without_namespace.proxy_enabled": True}, BACKENDS) == {}
