"""Turns Centrifugo's options into the tables of an edge's configuration, and reports what became of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, assert_never

from services.edge.client_settings import SUBSCRIBE_BYTES
from services.edge.moving.backend_rules import (
    DEFAULT_PROXY,
    OF_CLIENTS,
    OF_NAMESPACES,
    RPC,
    backend_names,
    choose_for_clients,
    choose_for_namespace,
    rpc_section,
    table_of,
    table_of_rpc,
)
from services.edge.moving.centrifugo_file import WITHOUT_NAMESPACE, Option
from services.edge.moving.durations import NotConvertible
from services.edge.moving.edge_keys import BACKEND, BACKENDS, NAMESPACE, kind_of
from services.edge.moving.namespace_rules import adjust
from services.edge.moving.option_table import Fixed, Kept, NotNeeded, NotThere, OptionTable
from services.edge.moving.proxy_values import is_grpc
from services.edge.moving.report import Line, Verdict
from services.edge.moving.values import convert
from services.edge.token_settings import PLACE

Tables = dict[str, Any]

_OF_TRANSPORTS: Final = "client.transports"
_OF_SIZE: Final = "client.message_size_limit"
_TWO_PORTS: Final = {"http_server.internal_port": "edge.port", "http_server.port": "edge.client_port"}
"""With a second port, Centrifugo's first port is for clients only; on an edge the second port is for clients only."""
_PREVIOUS_KEYS: Final = {
    "client.token.hmac_previous_secret_key": "client.token_keys",
    "client.subscription_token.hmac_previous_secret_key": "client.subscription_token_keys",
}
_VALID_UNTIL: Final = "_valid_until"
_UNKNOWN: Final = "not an option of Centrifugo 6: misspelt, of its PRO edition, or newer than this table"
_OF_AN_OLDER_VERSION: Final = (
    "not an option of Centrifugo 6: if the file is from an older version, convert it to version 6 first"
)
_ONLY_IN_6: Final = ("channel.", "client.", "http_server.", "http_api.", "engine.", "broker.")
"""Tables that a configuration of version 5 does not have."""
_USERS_OF_CHANNELS: Final = "the subscribe hook is asked about these channels, too, and decides alone"
_ON_NATS: Final = "asked on NATS, as its proxy has no HTTP address"
_NO_BACKEND: Final = "this proxy does not become a backend, as it has no HTTP address: backends answer on NATS"
_NO_PROXY: Final = "no table of proxies has this name: name one that exists"
_OTHER_KEYS: Final = ("hmac_secret_key", "hmac_previous_secret_key", "rsa_public_key", "ecdsa_public_key")
_JWKS_ALONE: Final = "only the keys of jwks_public_endpoint verify tokens, as in Centrifugo"
_OF_RPCS: Final = f"{RPC}."
_RPCS_ON_NATS: Final = "no proxy answers RPCs over HTTP: backends answer them on NATS"
_BEFORE_6_9: Final = "until 6.9 emulated headers counted as well: if you use them, name them in emulated_headers, too"


class Translation:
    """What the options become: `tables` of the configuration, and a line of the report for each option.

    `now` is the time in Unix seconds: a key that is no longer valid is left out.
    """

    def __init__(self, options: Iterable[Option], table: OptionTable, now: float = 0) -> None:
        self._table = table
        self._now = now
        self._tables: Tables = {}
        self._namespaces: dict[str, Tables] = {}
        self._backends: dict[str, Tables] = {}
        self._lines: dict[str, Line] = {}
        given = list(options)
        self._values: Mapping[str, Any] = {option.path: option.value for option in given}
        self._names = backend_names(filter(None, map(table_of, given)))
        self._two_ports = str(self._values.get("http_server.internal_port", "")) not in (
            "",
            str(self._values.get("http_server.port", table.defaults["http_server.port"])),
        )
        for option in given:
            self._take(option)
        for path, value in table.defaults.items():
            if path not in self._values:
                self._take(Option(path, path, value), "Centrifugo's default")
        self._settle()

    @property
    def lines(self) -> list[Line]:
        """A line for each option, and one for each default of Centrifugo that is written."""
        return list(self._lines.values())

    @property
    def of_an_older_version(self) -> list[str]:
        """The options that show that the file is from version 5 or older; none if it is from version 6."""
        if any(path.startswith(_ONLY_IN_6) for path in self._values):
            return []
        return [line.option for line in self._lines.values() if line.says == _OF_AN_OLDER_VERSION]

    def tables(self) -> Tables:
        """The tables of the edge's configuration."""
        made: Tables = {name: dict(section) for name, section in self._tables.items()}
        others = dict(self._namespaces)
        without = others.pop(WITHOUT_NAMESPACE, None)
        if without or others:
            channel: Tables = made.setdefault("channel", {})
            if without:
                channel["without_namespace"] = without
            if others:
                channel["namespaces"] = list(others.values())
        if self._backends:
            made[BACKENDS] = list(self._backends.values())
        return made

    def _take(self, option: Option, says: str = "") -> None:
        if off := self._off(option):
            self._say(option, Verdict.NOT_NEEDED, says=off)
            return
        if option.path in _TWO_PORTS and self._two_ports:
            self._keep(option, _TWO_PORTS[option.path], says or "edge.client_port is for clients only")
            return
        if option.path == "websocket.disabled" and option.value is True:
            self._say(option, Verdict.RENAMED, _OF_TRANSPORTS)
            return
        if option.path in _PREVIOUS_KEYS and option.value:
            self._take_previous_key(option)
            return
        match self._table.row(self._row_name(option)):
            case Kept(target):
                self._keep(option, target, says)
            case Fixed(value, otherwise):
                same = option.value == value or option.value == ""
                self._say(option, Verdict.SAME if same else Verdict.NOT_THERE, says="" if same else otherwise)
            case NotNeeded(why):
                self._say(option, Verdict.NOT_NEEDED, says=why)
            case NotThere(instead):
                self._say_not_there(option, instead)
            case None:
                self._say(option, Verdict.UNKNOWN, says=_UNKNOWN if "." in option.path else _OF_AN_OLDER_VERSION)
            case unexpected:
                assert_never(unexpected)

    def _take_previous_key(self, option: Option) -> None:
        until = self._values.get(f"{option.path}{_VALID_UNTIL}") or 0
        if isinstance(until, int | float) and 0 < until < self._now:
            self._say(option, Verdict.NOT_NEEDED, says="it is no longer valid")
            return
        key = _PREVIOUS_KEYS[option.path]
        self._section("client")[key.partition(".")[2]] = [{"algorithm": "HS256", "secret": option.value}]
        self._say(option, Verdict.RENAMED, key, "for HS256; remove it when the last token has expired")

    def _row_name(self, option: Option) -> str:
        """The option's name in the table: an option of a consumer is listed under the consumer's type."""
        if not option.name.startswith("consumers."):
            return option.name
        kind = self._values.get(f"consumers[{option.owner}].type")
        return option.name if option.name.startswith(f"consumers.{kind}.") else option.name.replace(".", f".{kind}.", 1)

    def _keep(self, option: Option, target: str, says: str) -> None:
        if target == _OF_TRANSPORTS or target.endswith(("backend", ".namespaces")):
            shown = self._shown(target, option)  # written when all options are known
            self._say(option, Verdict.SAME if shown == option.path else Verdict.RENAMED, shown)
            return
        try:
            value, note = convert(option.name, option.value, kind_of(target))
        except NotConvertible as error:
            self._say(option, Verdict.NOT_THERE, says=str(error))
            if error.taken is not None:
                section, _, key = target.partition(".")
                self._owner(section, option)[key] = error.taken
            return
        section, _, key = target.partition(".")
        if target == _OF_SIZE:
            self._section(section)[key] = max(value, self._section(section).get(key, 0))
        elif target == f"{BACKEND}.name":
            self._owner(section, option)  # sets the name
        elif value != "" and not (section == NAMESPACE and option.name.startswith("channel.")):
            self._owner(section, option)[key] = value
        same = target in (option.name, option.path)
        said = "; ".join(filter(None, (says, note)))
        self._say(option, Verdict.SAME if same else Verdict.RENAMED, self._shown(target, option), said)

    def _owner(self, section: str, option: Option) -> Tables:
        if section == NAMESPACE:
            return self._namespaces.setdefault(option.owner, {})
        if section == BACKEND:
            proxy = table_of(option)
            return self._backends.setdefault(proxy, {"name": self._names[proxy]})
        return self._section(section)

    def _section(self, name: str) -> Tables:
        made: Tables = self._tables.setdefault(name, {})
        return made

    def _off(self, option: Option) -> str:
        """Why the option does not count; "" if it does."""
        if proxy := table_of(option):
            endpoint = self._values.get(f"{proxy}.endpoint")
            if not endpoint:
                return f"{proxy} has no endpoint"
            if option.name != "proxy.endpoint" and not str(endpoint).startswith(("http://", "https://")):
                return f"{proxy} is asked over gRPC" if is_grpc(endpoint) else f"{proxy} has no HTTP address"
        if option.path.endswith("_proxy_name") or option.name == "rpc_namespace.proxy_name":
            switch = option.path.removesuffix("name") + "enabled"
            if self._values.get(switch) is not True:
                return f"{switch} is off"
        for path in dict.fromkeys((option.name, option.path)):
            for table in self._table.off_unless_enabled:
                rest = path.removeprefix(f"{table}.")
                if rest not in (path, "enabled") and option.path.endswith(f".{rest}"):
                    actual = option.path.removesuffix(f".{rest}")
                    if self._values.get(f"{actual}.enabled") is not True:
                        return f"{actual}.enabled is off"
        return ""

    def _say(self, option: Option, verdict: Verdict, key: str = "", says: str = "") -> None:
        self._lines[option.path] = Line(option.path, verdict, key, says)

    def _say_not_there(self, option: Option, instead: str) -> None:
        """An option that is off is not needed."""
        if option.value in (False, None, "", 0, "0s", [], {}):
            self._say(option, Verdict.NOT_NEEDED, says="it is off")
        else:
            self._say(option, Verdict.NOT_THERE, says=instead)

    def _settle(self) -> None:
        """Does what requires that all options are known."""
        self._settle_transports()
        self._settle_size()
        for path, key in (
            ("channel.history_meta_ttl", "history_meta_ttl"),
            ("channel.publication_data_format", "publication_data_format"),
        ):
            if path in self._values and self._lines[path].key:
                value, _ = convert(path, self._values[path], kind_of(f"{NAMESPACE}.{key}"))
                for each in self._namespaces.values() if value != "" else ():
                    each.setdefault(key, value)
        self._settle_tls()
        self._settle_keys()
        self._settle_headers()
        self._settle_hooks()

    def _settle_hooks(self) -> None:
        """Decides which backend answers which hook and which RPC."""
        rpc, longer = rpc_section(self._values, self._backends)
        if rpc:
            self._tables["rpc"] = rpc
        self._say_of_rpcs()
        if longer:
            self._section("client")["rpc_timeout"] = longer
        client = self._tables.get("client", {})
        self._say_of_hooks(client, "client.proxy.{}.enabled", choose_for_clients(client, self._backends))
        for owner, options in self._namespaces.items():
            where = f"channel.namespaces[{owner}]" if owner else "channel.without_namespace"
            alone = choose_for_namespace(options, where, self._values, self._backends)
            self._say_of_hooks(options, where + ".{}_proxy_enabled", alone)
            for event in alone:
                self._say_of_name(f"{where}.{event}_proxy_name")
            if options.get("subscribe_hook") and options.get("allow_user_limited_channels"):
                self._note(_USERS_OF_CHANNELS, f"{where}.allow_user_limited_channels")
            for key, why in adjust(options).items():
                for path in (f"{where}.{key}", f"{where}.{key}y"):  # auto_cache_recovery
                    if path in self._lines:
                        self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=why)

    def _say_of_hooks(self, options: Tables, switch: str, alone: list[str]) -> None:
        """`switch` is where an event's hook is switched on in Centrifugo; `alone` are the events without a backend."""
        for event in (*OF_CLIENTS, *OF_NAMESPACES):
            if options.get(f"{event}_hook"):
                timeout = f"with hook_timeout = {options['hook_timeout']}" if "hook_timeout" in options else ""
                self._note(_ON_NATS if event in alone else timeout, switch.format(event))

    def _say_of_rpcs(self) -> None:
        """Reports options of RPCs that are not written."""
        for path, line in self._lines.items():
            if not (path.startswith(_OF_RPCS) and line.key.startswith(_OF_RPCS)):
                continue
            if path.endswith(".proxy_name") and table_of_rpc(self._values[path]) not in self._backends:
                self._say_of_name(path)
            elif "rpc" not in self._tables:
                self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=_RPCS_ON_NATS)

    def _say_of_name(self, path: str) -> None:
        """Reports the name of a proxy, at `path`, that has not become a backend."""
        if path not in self._lines:
            return
        name = self._values[path]
        if name in (None, "", DEFAULT_PROXY) or any(each.startswith(f"proxies[{name}].") for each in self._values):
            self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=_NO_BACKEND)
        else:
            self._lines[path] = Line(path, Verdict.NOT_THERE, says=_NO_PROXY)

    def _settle_keys(self) -> None:
        """With a JWKS, Centrifugo ignores other keys; with one for each issuer, an edge does not accept other keys."""
        for kind in ("token", "subscription_token"):
            if not PLACE.search(str(self._values.get(f"client.{kind}.jwks_public_endpoint", ""))):
                continue
            for key in _OTHER_KEYS:
                path = f"client.{kind}.{key}"
                if path in self._lines and self._values[path]:
                    self._section("client").pop(self._lines[path].key.partition(".")[2], None)
                    self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=_JWKS_ALONE)

    def _settle_headers(self) -> None:
        """On an edge, a client may not replace a static header; in Centrifugo it may."""
        for proxy, backend in self._backends.items():
            static = {name.lower() for name in backend.get("static_headers", {})}
            for key in ("http_headers", "emulated_headers"):
                if both := [name for name in backend.get(key, []) if name.lower() in static]:
                    backend[key] = [name for name in backend[key] if name not in both]
                    self._note(f"without {', '.join(both)}, which static_headers has", f"{proxy}.{key}")
            if "emulated_headers" not in backend and backend.get("http_headers"):
                self._note(_BEFORE_6_9, f"{proxy}.http_headers")

    def _settle_tls(self) -> None:
        """Asks for TLS by the scheme: without it, an edge takes what NATS offers."""
        nats = self._tables.get("nats", {})
        if self._values.get("broker.nats.tls.enabled") is True and "url" in nats:
            nats["url"] = nats["url"].replace("nats://", "tls://")

    def _note(self, says: str, *options: str) -> None:
        """Adds a remark to those of the options that are in the file and are kept."""
        for option in options:
            if (line := self._lines.get(option)) and line.verdict in (Verdict.SAME, Verdict.RENAMED):
                self._lines[option] = replace(line, says="; ".join(filter(None, (line.says, says))))

    def _settle_transports(self) -> None:
        websocket = [] if self._values.get("websocket.disabled") is True else ["websocket"]
        names = ("http_stream", "sse", "uni_websocket", "uni_http_stream", "uni_sse")
        others = [name for name in names if self._values.get(f"{name}.enabled") is True]
        if websocket + others != ["websocket"]:
            self._section("client")["transports"] = websocket + others

    def _settle_size(self) -> None:
        client = self._tables.get("client", {})
        channels = client.get("channel_limit", 128)
        if 0 <= client.get("message_size_limit", -1) < SUBSCRIBE_BYTES * channels:
            del client["message_size_limit"]
            why = f"it would be too small for {channels} subscriptions in one message, with which clients reconnect"
            for path, line in self._lines.items():
                if line.key == _OF_SIZE:
                    self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=why)

    def _shown(self, target: str, option: Option) -> str:
        """The key as the report shows it: an option of the same namespace, or of the backend that a proxy becomes."""
        if target.startswith(f"{BACKEND}."):
            return f"{BACKENDS}[{self._names[table_of(option)]}]{target.removeprefix(BACKEND)}"
        if option.name.startswith("rpc_namespace.") and option.owner:
            table = option.path.rpartition(".")[0]
            return f"{table}.{'name' if option.name.endswith('.name') else 'backend'}"
        return target.removeprefix(f"{NAMESPACE}.")
