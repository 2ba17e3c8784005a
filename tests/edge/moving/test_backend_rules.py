"""Each hook and each RPC keeps the backend that its proxy was."""

from __future__ import annotations

from typing import Any

import pytest

from services.edge.moving.backend_rules import backend_names, choose_for_clients, choose_for_namespace, rpc_section

BACKENDS: dict[str, dict[str, Any]] = {
    "client.proxy.connect": {"name": "connect"},
    "channel.proxy.subscribe": {"name": "subscribe"},
    "proxies[rooms]": {"name": "rooms", "timeout": "3s"},
    "rpc.proxy": {"name": "rpc"},
}
WHERE = "channel.namespaces[chat]"


def test_the_hooks_about_connections_have_the_backends_of_their_places() -> None:
    client: dict[str, Any] = {"connect_hook": True, "refresh_hook": True}
    assert choose_for_clients(client, BACKENDS) == ["refresh"], "its proxy has no address"
    assert client == {"connect_hook": True, "connect_backend": "connect", "refresh_hook": True}


@pytest.mark.parametrize(("name", "backend"), [("rooms", "rooms"), ("default", "subscribe"), (None, "subscribe")])
def test_a_namespace_names_its_proxy_or_has_the_default_one(name: str | None, backend: str) -> None:
    options: dict[str, Any] = {"subscribe_hook": True}
    assert choose_for_namespace(options, WHERE, {f"{WHERE}.subscribe_proxy_name": name}, BACKENDS) == []
    assert options["subscribe_backend"] == backend


def test_a_backend_keeps_the_time_that_its_proxy_had() -> None:
    options: dict[str, Any] = {"subscribe_hook": True, "publish_hook": True}
    values = {f"{WHERE}.publish_proxy_name": "rooms"}
    choose_for_namespace(options, WHERE, values, BACKENDS)
    assert options["hook_timeout"] == "3s", "the hook would cut it off after 1 s"


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
        "rpc.namespaces[grpc].proxy_enabled": True,
        "rpc.namespaces[grpc].proxy_name": "of gRPC",
    }
    section, longer = rpc_section(values, BACKENDS)
    assert section == {
        "backend": "rpc",
        "namespaces": [
            {"name": "orders", "backend": "rooms"},
            {"name": "off", "backend": "nats"},  # and not the backend of those without a namespace
            {"name": "grpc", "backend": "nats"},
        ],
    }
    assert longer is None, "RPCs have 4 s"


def test_an_rpc_that_may_take_longer_goes_on_doing_so() -> None:
    backends = {"rpc.proxy": {"name": "rpc", "timeout": "4.4s"}}
    assert rpc_section({"rpc.without_namespace.proxy_enabled": True}, backends)[1] == "4.4s"


def test_without_a_proxy_rpcs_are_asked_on_nats() -> None:
    assert rpc_section({"rpc.without_namespace.proxy_enabled": True}, {}) == ({}, None)


def test_no_two_backends_have_one_name() -> None:
    tables = ["channel.proxy.subscribe", "proxies[subscribe]", "proxies[nats]", "rpc.proxy", "rpc.proxy"]
    assert backend_names(tables) == {
        "proxies[subscribe]": "subscribe",
        "proxies[nats]": "nats-proxy",
        "channel.proxy.subscribe": "subscribe-proxy",
        "rpc.proxy": "rpc",
    }
