"""Reads the edge's settings from the file and the variables, and makes the checks that need more than one section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.chassis.http.client_address import Proxies
from services.chassis.process.settings import ConfigurationError, load
from services.edge.backend_settings import OWN_NATS
from services.edge.channel_settings import ChannelOptions, ChannelSection
from services.edge.channels.namespaces import history_share
from services.edge.client_settings import SUBSCRIBE_BYTES
from services.edge.edge_settings import MEMORY
from services.edge.hook_settings import NATS
from services.edge.origins import check_pattern
from services.edge.settings import EdgeSettings
from services.edge.token_settings import connection_tokens, subscription_tokens
from services.edge.tokens.configured_keys import key_sets
from services.sections import SECTIONS

MIN_STREAM_BYTES: Final = 1024 * 1024
"""The smallest size of a stream: as much as NATS accepts in one message by default."""

_OF_HISTORY: Final = ("history_max_bytes", "history_meta_ttl", "history_when_full", "replicas")

MIN_SECRET_LENGTH: Final = 16
"""In characters. Shorter keys for HMAC-SHA256 can be guessed."""


def from_environ(environ: Mapping[str, str]) -> EdgeSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`, also for missing or weak keys."""
    settings = load(EdgeSettings, environ, SECTIONS)
    mistakes: list[str] = []
    for check in _CHECKS:
        try:
            check(settings)
        except ConfigurationError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigurationError(*mistakes)
    return settings


def _check_no_backend(settings: EdgeSettings) -> None:
    """Raises `ConfigurationError` for a setting that makes an edge without NATS ask a backend on NATS."""
    if settings.edge.broker != MEMORY:
        return
    asking = [hook for hook in _hooks(settings) if hook.switched_on and hook.backend == NATS]
    if settings.client.allow_send:
        asking.append(Hook("client.", "allow_send", True, NATS))
    for backend in settings.backends:
        if backend.url == OWN_NATS:
            raise ConfigurationError(
                f'backends, "{backend.name}": url: expected "nats://host:port" with edge.broker = "memory", which has '
                f'no NATS of its own, got "{OWN_NATS}"'
            )
    if asking:
        raise ConfigurationError(
            f'{asking[0].where}{asking[0].name}: expected false with edge.broker = "memory", which has no NATS for '
            'backends to answer on; with one of backends, or with edge.broker = "nats", it can be switched on'
        )


class Hook(NamedTuple):
    """A hook of the settings: where its options are, the name and state of its switch, and the backend that answers."""

    where: str
    name: str
    switched_on: bool
    backend: str


def _hooks(settings: EdgeSettings) -> list[Hook]:
    client = settings.client
    hooks = [
        Hook("client.", "connect_hook", client.connect_hook, client.connect_backend),
        Hook("client.", "refresh_hook", client.refresh_hook, client.refresh_backend),
    ]
    for where, options in _tables(settings.channel):
        hooks.append(Hook(f"{where}: ", "subscribe_hook", options.subscribe_hook, options.subscribe_backend))
        hooks.append(Hook(f"{where}: ", "publish_hook", options.publish_hook, options.publish_backend))
        hooks.append(Hook(f"{where}: ", "sub_refresh_hook", options.sub_refresh_hook, options.sub_refresh_backend))
    return hooks


def _check_backends(settings: EdgeSettings) -> None:
    """Raises `ConfigurationError` for two backends of one name, and if an option names one that does not exist."""
    names = [each.name for each in settings.backends]
    mistakes = [f'backends: expected each name once, "{each}" appears twice' for each in _repeated(names)]
    chosen = {"[rpc] backend": settings.rpc.backend}
    chosen |= {f'[rpc] namespaces, "{each.name}": backend': each.backend for each in settings.rpc.namespaces}
    for where, name, switched_on, backend in _hooks(settings):
        option = name.removesuffix("_hook") + "_backend"
        chosen[f"{where}{option}"] = backend
        if backend != NATS and not switched_on:
            mistakes.append(f"{where}{option}: expected {name} = true with it, without which the backend is not asked")
    for place, backend in chosen.items():
        if backend != NATS and backend not in names:
            known = f": there are {', '.join(names)}" if names else ", of which there are none"
            mistakes.append(f'{place}: expected "nats" or the name of one of backends, got {backend!a}{known}')
    if mistakes:
        raise ConfigurationError(*mistakes)


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _check_proxies(settings: EdgeSettings) -> None:
    edge = settings.edge
    try:
        Proxies(edge.trusted_proxies)
    except ValueError as error:
        raise ConfigurationError(f"edge.trusted_proxies: {error}") from None


def _check_user_header(settings: EdgeSettings) -> None:
    """Raises `ConfigurationError` if no proxy is trusted to write the header, so that no client would have a user; and
    for a backend that would get the header from clients.
    """
    header = settings.client.user_id_http_header.lower()
    for backend in settings.backends:
        if header and header in map(str.lower, backend.emulated_headers):
            raise ConfigurationError(
                f'backends, "{backend.name}": expected emulated_headers without client.user_id_http_header, '
                f"{settings.client.user_id_http_header}: any client could name any user there"
            )
    if header and not settings.edge.trusted_proxies:
        raise ConfigurationError(
            "client.user_id_http_header: expected edge.trusted_proxies with it, the addresses of the authenticating "
            "proxy: what anybody else writes into that header is ignored"
        )


def _check_room_for_subscriptions(settings: EdgeSettings) -> None:
    """Raises `ConfigurationError` if a client with `channel_limit` subscriptions could not reconnect."""
    client = settings.client
    channels = client.channel_limit
    least = {
        "message_size_limit": SUBSCRIBE_BYTES * channels,
        "commands_per_message": channels + 1,
        "queued_commands_limit": channels + 1,
    }
    for name, expected in least.items():
        if (given := getattr(client, name)) < expected:
            raise ConfigurationError(
                f"client.{name}: expected at least {expected} with client.channel_limit = {channels}, got {given}: a "
                "client that reconnects sends connect and all its subscriptions in one message. Raise it, leave it "
                "out, or lower client.channel_limit"
            )


def _tables(channel: ChannelSection) -> list[tuple[str, ChannelOptions]]:
    """The options of each namespace, with the place where they stand."""
    tables: list[tuple[str, ChannelOptions]] = [("channel.without_namespace", channel.without_namespace)]
    tables += [(f'channel.namespaces, "{namespace.name}"', namespace) for namespace in channel.namespaces]
    return tables


def _check_without_history(settings: EdgeSettings) -> None:
    """Raises `ConfigurationError` for an option of history in a namespace without it: somebody relies on the option."""
    channel = settings.channel
    default = ChannelOptions()
    for where, options in _tables(channel):
        for name in () if options.has_history else _OF_HISTORY:
            if getattr(options, name) != getattr(default, name):
                raise ConfigurationError(
                    f"{where}: {name}: expected history_size and history_ttl with it, without which there is no "
                    "history; set both, or leave it out"
                )


def _check_room_for_history(settings: EdgeSettings) -> None:
    """Raises `ConfigurationError` if the histories of all namespaces do not fit into `channel.history_max_bytes`."""
    channel = settings.channel
    least, share = channel.history_partitions * MIN_STREAM_BYTES, history_share(channel)
    given = {where: options.history_max_bytes for where, options in _tables(channel) if options.has_history}
    for where, size in given.items():
        if 0 < size < least:
            raise ConfigurationError(
                f"{where}: history_max_bytes: expected at least {least}, 1 MiB for each of the "
                f"{channel.history_partitions} channel.history_partitions, got {size}"
            )
    if share < 0 or (share < least and 0 in given.values()):
        needed = sum(size or least for size in given.values())
        raise ConfigurationError(
            f"channel.history_max_bytes: expected at least {needed} for the namespaces with history, got "
            f"{channel.history_max_bytes}: raise it, or lower channel.history_partitions or the namespaces' "
            "history_max_bytes"
        )


def _check_personal_channel(settings: EdgeSettings) -> None:
    namespace = settings.client.user_personal_channel_namespace
    known = ("", *(each.name for each in settings.channel.namespaces))
    if settings.client.subscribe_to_user_personal_channel and namespace not in known:
        raise ConfigurationError(
            f'client.user_personal_channel_namespace: expected the name of a namespace, there is no "{namespace}": '
            "clients with a user id could not connect"
        )


def _check_origins(settings: EdgeSettings) -> None:
    client = settings.client
    for number, pattern in enumerate(client.allowed_origins):
        try:
            check_pattern(pattern)
        except ValueError as error:
            raise ConfigurationError(f"client.allowed_origins[{number}]: {error}") from None


def _check_keys(settings: EdgeSettings) -> None:
    client = settings.client
    try:
        keys = key_sets(client).connection
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    secrets: dict[str, str] = {}
    for tokens in (connection_tokens(client), subscription_tokens(client)):
        if tokens is not None:
            secrets[f"client.{tokens.prefix}hmac_secret_key"] = tokens.hmac_secret_key
            for number, key in enumerate(tokens.keys):
                secrets[f"client.{tokens.prefix}keys[{number}].secret"] = key.secret
    for setting, secret in secrets.items():
        if secret and len(secret) < MIN_SECRET_LENGTH:
            raise ConfigurationError(f"{setting}: expected at least {MIN_SECRET_LENGTH} characters, got {len(secret)}")
    others = (client.allow_anonymous_connect_without_token, client.connect_hook, client.user_id_http_header)
    if keys.empty and not (client.insecure or any(others)):
        raise ConfigurationError(
            "client.token_hmac_secret_key is missing: no client could connect. Expected the secret with which your "
            "tokens are signed, there or as FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY, or a public key, or an endpoint of "
            "keys (for tests: client.insecure = true)"
        )


_CHECKS: Final = (
    _check_keys,
    _check_proxies,
    _check_user_header,
    _check_origins,
    _check_room_for_subscriptions,
    _check_personal_channel,
    _check_without_history,
    _check_room_for_history,
    _check_no_backend,
    _check_backends,
)
