"""Which backend a proxy of Centrifugo becomes, and which hooks and RPCs ask it. Pure.

A proxy is identified by its table: "client.proxy.connect", or "proxies[rooms]" if it has a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.chassis.process.settings import Duration
from services.edge.channel_settings import ChannelOptions
from services.edge.client_settings import ClientSection
from services.edge.hook_settings import NATS
from services.edge.moving.centrifugo_file import PLACES, Option

OF_NAMESPACES: Final = ("subscribe", "publish", "sub_refresh")
OF_CLIENTS: Final = ("connect", "refresh")

DEFAULT_PROXY: Final = "default"
"""The name by which Centrifugo knows the proxy of a place, such as `channel.proxy.subscribe`."""
_NAMED: Final = "proxies["
RPC: Final = "rpc"

Backends = Mapping[str, Mapping[str, Any]]
"""The tables of `backends`, by the tables of the proxies that they are made from."""


def table_of(option: Option) -> str:
    """The proxy that an option belongs to, "" if it belongs to none."""
    return option.path.removesuffix(option.name.removeprefix("proxy")) if option.name.startswith("proxy.") else ""


def backend_names(tables: Iterable[str]) -> dict[str, str]:
    """The name of each proxy's backend: the proxy's own name, or the name of its event."""
    names: dict[str, str] = {}
    events = {table: event for event, table in PLACES.items()}
    for table in sorted(dict.fromkeys(tables), key=lambda each: not each.startswith(_NAMED)):
        name = events.get(table) or table.removeprefix(_NAMED)[:-1]
        while name == NATS or name in names.values():
            name += "-proxy"
        names[table] = name
    return names


def choose_for_clients(client: dict[str, Any], backends: Backends) -> list[str]:
    """Sets the backends of hooks about connections. Returns the hooks without a backend, which are asked on NATS."""
    return _choose(client, {event: PLACES[event] for event in OF_CLIENTS}, backends)


def choose_for_namespace(
    options: dict[str, Any], where: str, values: Mapping[str, Any], backends: Backends
) -> list[str]:
    """The same for the hooks of a namespace, whose options stand at `where` in Centrifugo's `values`."""
    tables = {event: _table(event, values.get(f"{where}.{event}_proxy_name")) for event in OF_NAMESPACES}
    return _choose(options, tables, backends)


def rpc_section(values: Mapping[str, Any], backends: Backends) -> tuple[dict[str, Any], Any]:
    """The section `rpc`, empty if no proxy answers RPCs; and a longer `client.rpc_timeout` if one needs it, or None."""
    made: dict[str, Any] = {}
    namespaces: list[dict[str, str]] = []
    asked: list[Mapping[str, Any]] = []
    for path, switch in values.items():
        where = path.removesuffix(".proxy_enabled")
        if where == path or not where.startswith(f"{RPC}."):
            continue
        backend = backends.get(_table(RPC, values.get(f"{where}.proxy_name"))) if switch is True else None
        if backend:
            asked.append(backend)
        name = backend["name"] if backend else NATS
        if where == f"{RPC}.without_namespace":
            made["backend"] = name
        else:
            namespaces.append({"name": where.removeprefix(f"{RPC}.namespaces[")[:-1], "backend": name})
    if not asked:
        return {}, None
    return made | ({"namespaces": namespaces} if namespaces else {}), _longer(asked, ClientSection().rpc_timeout)


def table_of_rpc(name: Any) -> str:
    """The table of the proxy that answers RPCs, if this is its name."""
    return _table(RPC, name)


def _choose(options: dict[str, Any], tables: Mapping[str, str], backends: Backends) -> list[str]:
    events = [event for event in tables if options.get(f"{event}_hook")]
    asked = {event: backends[tables[event]] for event in events if tables[event] in backends}
    for event, backend in asked.items():
        options[f"{event}_backend"] = backend["name"]
    if longer := _longer(asked.values(), ChannelOptions().hook_timeout):
        options["hook_timeout"] = longer
    return [event for event in events if event not in asked]


def _table(event: str, name: Any) -> str:
    return PLACES[event] if name in (None, "", DEFAULT_PROXY) else f"{_NAMED}{name}]"


def _longer(asked: Iterable[Mapping[str, Any]], usual: float) -> Any:
    """The longest timeout of these backends, if it is longer than usual; otherwise None."""
    longest = max((each.get("timeout", 0) for each in asked), key=Duration.parse, default=0)
    return longest if Duration.parse(longest) > usual else None
