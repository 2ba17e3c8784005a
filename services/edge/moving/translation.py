"""Turns the options of a Centrifugo into the tables of an edge's configuration, and says what became of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never

from services.edge.moving.backend_rules import choose_for_clients, choose_for_namespace, rpc_section
from services.edge.moving.centrifugo_file import WITHOUT_NAMESPACE, Option
from services.edge.moving.edge_keys import BACKEND, BACKENDS, NAMESPACE, kind_of
from services.edge.moving.namespace_rules import adjust
from services.edge.moving.option_table import Fixed, Kept, NotNeeded, NotThere, OptionTable
from services.edge.moving.report import Line, Verdict
from services.edge.moving.values import NotConvertible, convert

Tables = dict[str, Any]

_OF_TRANSPORTS: Final = "client.transports"
_OF_SIZE: Final = "client.message_size_limit"
_TWO_PORTS: Final = {"http_server.internal_port": "edge.port", "http_server.port": "edge.client_port"}
"""With a second port Centrifugo keeps the first one for clients alone; here the second port is theirs."""
_PREVIOUS_KEYS: Final = {
    "client.token.hmac_previous_secret_key": "client.token_keys",
    "client.subscription_token.hmac_previous_secret_key": "client.subscription_token_keys",
}
_BYTES_OF_A_CHANNEL: Final = 512


class Translation:
    """What has been made of the options so far: `tables` of the configuration, and a line for each option."""

    def __init__(self, options: Iterable[Option], table: OptionTable) -> None:
        self._table = table
        self._tables: Tables = {}
        self._namespaces: dict[str, Tables] = {}
        self._backends: dict[str, Tables] = {}
        self._lines: dict[str, Line] = {}
        given = list(options)
        self._values: Mapping[str, Any] = {option.path: option.value for option in given}
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
        """One for each option, and one for each default of Centrifugo that is written."""
        return list(self._lines.values())

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
        if kind_of(keys := _PREVIOUS_KEYS.get(option.path, "")) and option.value:
            section, _, key = keys.partition(".")
            self._section(section)[key] = [{"algorithm": "HS256", "secret": option.value}]
            self._say(option, Verdict.RENAMED, keys, "for HS256; remove it when the last token has expired")
            return
        match self._table.row(option.name):
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
                self._say(option, Verdict.UNKNOWN, says="no option of Centrifugo 6, or a newer one: read what it does")
            case unexpected:
                assert_never(unexpected)

    def _keep(self, option: Option, target: str, says: str) -> None:
        kind = kind_of(target)
        if kind is None:
            self._say_not_there(option, self._table.while_away(option.name, target))
            return
        if target == _OF_TRANSPORTS or target.endswith(("backend", ".namespaces")):
            self._say(option, Verdict.RENAMED, _shown(target, option))  # written when all options are known
            return
        try:
            value, note = convert(option.name, option.value, kind)
        except NotConvertible as error:
            self._say(option, Verdict.NOT_THERE, says=str(error))
            return
        section, _, key = target.partition(".")
        if target == _OF_SIZE:
            self._section(section)[key] = max(value, self._section(section).get(key, 0))
        elif value != "" and not (section == NAMESPACE and option.name.startswith("channel.")):
            self._owner(section, option.owner)[key] = value
        same = target in (option.name, option.path)
        said = "; ".join(filter(None, (says, note)))
        self._say(option, Verdict.SAME if same else Verdict.RENAMED, _shown(target, option), said)

    def _owner(self, section: str, owner: str) -> Tables:
        if section == NAMESPACE:
            return self._namespaces.setdefault(owner, {})
        if section == BACKEND:
            return self._backends.setdefault(owner, {"name": owner})
        return self._section(section)

    def _section(self, name: str) -> Tables:
        made: Tables = self._tables.setdefault(name, {})
        return made

    def _off(self, option: Option) -> str:
        """Why the option does not count; "" if it does."""
        if option.name.startswith("proxy."):
            proxy = option.path.removesuffix(option.name.removeprefix("proxy"))
            if not self._values.get(f"{proxy}.endpoint"):
                return f"{proxy} has no endpoint"
        if option.path.endswith("proxy_name"):
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
        """Nobody misses what is off."""
        if option.value in (False, None, "", 0, "0s", [], {}):
            self._say(option, Verdict.NOT_NEEDED, says="it is off")
        else:
            self._say(option, Verdict.NOT_THERE, says=instead)

    def _settle(self) -> None:
        """What can be said when all options are known."""
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
        self._backends = {name: each for name, each in self._backends.items() if "url" in each}
        choose_for_clients(self._tables.get("client", {}), self._backends)
        if rpc := rpc_section(self._values, self._backends):
            self._tables["rpc"] = rpc
        for owner, options in self._namespaces.items():
            where = f"channel.namespaces[{owner}]" if owner else "channel.without_namespace"
            choose_for_namespace(options, where, self._values, self._backends)
            for key, why in adjust(options).items():
                for path in (f"{where}.{key}", f"{where}.{key}y"):  # auto_cache_recovery
                    if path in self._lines:
                        self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=why)

    def _settle_transports(self) -> None:
        websocket = [] if self._values.get("websocket.disabled") is True else ["websocket"]
        names = ("http_stream", "sse", "uni_websocket", "uni_http_stream", "uni_sse")
        others = [name for name in names if self._values.get(f"{name}.enabled") is True]
        if websocket + others != ["websocket"]:
            self._section("client")["transports"] = websocket + others

    def _settle_size(self) -> None:
        client = self._tables.get("client", {})
        channels = client.get("channel_limit", 128)
        if 0 <= client.get("message_size_limit", -1) < _BYTES_OF_A_CHANNEL * channels:
            del client["message_size_limit"]
            why = f"it would be too small for {channels} subscriptions in one message, with which clients reconnect"
            for path, line in self._lines.items():
                if line.key == _OF_SIZE:
                    self._lines[path] = Line(path, Verdict.NOT_NEEDED, says=why)


def _shown(target: str, option: Option) -> str:
    """The key as the report has it: an option of the same namespace, or of the backend that a proxy becomes."""
    if target.startswith(f"{BACKEND}."):
        return f"{BACKENDS}[{option.owner}]{target.removeprefix(BACKEND)}"
    return target.removeprefix(f"{NAMESPACE}.")
