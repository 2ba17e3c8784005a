"""What an operator is warned of at the start: settings that are allowed, but rarely intended. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.edge.backend_settings import PROXY_HEADERS
from services.edge.channel_settings import ChannelOptions, ChannelSection
from services.edge.client_settings import ClientSection
from services.edge.origins import too_open
from services.edge.patterns import check_effort
from services.edge.session.allowances import floors
from services.edge.settings import EdgeSettings

STRONG_SECRET_BYTES: Final = 32


def cautions(settings: EdgeSettings) -> Iterator[str]:
    """The warnings, one line each. Each names the setting."""
    client = settings.client
    if client.insecure:
        yield (
            "client.insecure = true: ANYBODY may connect, subscribe, publish and read history; connections do not "
            "expire. This is for tests; never expose it to a network."
        )
    for name in ("token_hmac_secret_key", "subscription_token_hmac_secret_key"):
        if 0 < len(getattr(client, name).encode()) < STRONG_SECRET_BYTES:
            yield f"client.{name} is shorter than {STRONG_SECRET_BYTES} bytes (RFC 7518, 3.2)"
    yield from _of_origins(client)
    yield from _of_proxy_headers(settings)
    yield from _of_patterns(settings.channel)
    yield from _of_idle_options(settings.channel)
    yield from _of_rates(settings)


def _of_origins(client: ClientSection) -> Iterator[str]:
    for pattern in client.allowed_origins:
        if why := too_open(pattern):
            yield f'client.allowed_origins: "{pattern}" lets in more pages than may be meant: {why}'


def _of_proxy_headers(settings: EdgeSettings) -> Iterator[str]:
    """Headers that backends never get, as there is no proxy that writes them."""
    if settings.edge.trusted_proxies:
        return
    for backend in settings.backends:
        for name in backend.http_headers:
            if name.lower() in PROXY_HEADERS:
                yield (
                    f'backends, "{backend.name}": http_headers: {name} is never passed on, as it is taken from '
                    "edge.trusted_proxies only, and there are none: set those, or leave the header out"
                )


_HISTORY: Final = ("history_size",)
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "allow_subscribe_for_anonymous": ("allow_subscribe_for_client",),
    "allow_publish_for_anonymous": ("allow_publish_for_client", "allow_publish_for_subscriber"),
    "allow_history_for_anonymous": ("allow_history_for_client", "allow_history_for_subscriber"),
    "allow_presence_for_anonymous": ("allow_presence_for_client", "allow_presence_for_subscriber"),
    "allow_history_for_client": _HISTORY,
    "allow_history_for_subscriber": _HISTORY,
    "allow_presence_for_client": ("presence", "join_leave"),
    "allow_presence_for_subscriber": ("presence", "join_leave"),
    "force_push_join_leave": ("join_leave",),
}
"""Options that do nothing unless at least one of these others is set."""


def _tables(channel: ChannelSection) -> dict[str, ChannelOptions]:
    """The options by the place where they are written."""
    return {"channel.without_namespace": channel.without_namespace} | {
        f'channel.namespaces, "{each.name}"': each for each in channel.namespaces
    }


def _of_patterns(channel: ChannelSection) -> Iterator[str]:
    for where, options in _tables(channel).items():
        try:
            check_effort(options.channel_regex)
        except ValueError as error:
            yield f"{where}: channel_regex: any client may send a name on which an edge hangs: {error}"


def _of_idle_options(channel: ChannelSection) -> Iterator[str]:
    for where, options in _tables(channel).items():
        for name, needed in _NEEDS.items():
            if getattr(options, name) and not any(getattr(options, other) for other in needed):
                yield f"{where}: {name} does nothing without {' or '.join(needed)}"


def _of_rates(settings: EdgeSettings) -> Iterator[str]:
    """Rates that allow more at once than they say, as a client could not reconnect otherwise."""
    floor = floors(settings.client)
    limits = settings.limits
    rates = {
        "limits.commands": (limits.commands, floor.commands),
        "limits.user_commands": (limits.user_commands, floor.commands),
        "limits.published_bytes": (limits.published_bytes, floor.bytes),
        "limits.user_published_bytes": (limits.user_published_bytes, floor.bytes),
        "limits.subscribes": (limits.subscribes, floor.subscribes),
        "limits.user_subscribes": (limits.user_subscribes, floor.subscribes),
    }
    for where, options in _tables(settings.channel).items():
        rates[f"{where}: publish_bytes_rate_limit"] = (options.publish_bytes_rate_limit, floor.bytes)
        rates[f"{where}: subscribe_rate_limit"] = (options.subscribe_rate_limit, floor.subscribes)
    for name, (rate, least) in rates.items():
        if 0 < rate.amount < least:
            yield (
                f"{name}: {rate} is taken as {rate.at_least(least)}, which is as much in the long run: {least} at once "
                "are always allowed, so that a client can reconnect with all its channels, and send its largest message"
            )
