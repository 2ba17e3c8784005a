"""Which backend answers which hook and which RPC: in Centrifugo each has an address, here each has a backend. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.edge.moving.edge_keys import NAMESPACE, kind_of

_DEFAULT: Final = "default"
"""In Centrifugo the name of the proxy that stands in `channel.proxy` or `rpc.proxy`."""
_RPC: Final = "rpc"


def chosen(event: str, name: Any) -> str:
    """The backend that stands for a proxy's name; "" and "default" are the one of the event."""
    return event if name in (None, "", _DEFAULT) else str(name)


def choose_for_clients(client: dict[str, Any], backends: Mapping[str, Any]) -> None:
    """Names the backends of the hooks about connections."""
    for event in ("connect", "refresh"):
        if client.get(f"{event}_hook") and event in backends and kind_of(f"client.{event}_backend"):
            client[f"{event}_backend"] = event


def choose_for_namespace(
    options: dict[str, Any], where: str, values: Mapping[str, Any], backends: Mapping[str, Any]
) -> None:
    """The same for the hooks of a namespace, whose options stand at `where` in Centrifugo's `values`."""
    for event in ("subscribe", "publish", "sub_refresh"):
        backend = chosen(event, values.get(f"{where}.{event}_proxy_name"))
        if options.get(f"{event}_hook") and backend in backends and kind_of(f"{NAMESPACE}.{event}_backend"):
            options[f"{event}_backend"] = backend


def rpc_section(values: Mapping[str, Any], backends: Mapping[str, Any]) -> dict[str, Any]:
    """The section `rpc`, empty if no proxy answers RPCs, or this edge has no such section."""
    if kind_of(f"{_RPC}.backend") is None:
        return {}
    made: dict[str, Any] = {}
    namespaces: list[dict[str, str]] = []
    for path, switch in values.items():
        where = path.removesuffix(".proxy_enabled")
        if where == path or switch is not True:
            continue
        backend = chosen(_RPC, values.get(f"{where}.proxy_name"))
        if backend not in backends:
            continue
        name = where.removeprefix(f"{_RPC}.namespaces[")
        if where == f"{_RPC}.without_namespace":
            made["backend"] = backend
        elif name != where:
            namespaces.append({"name": name[:-1], "backend": backend})
    return made | ({"namespaces": namespaces} if namespaces else {})
