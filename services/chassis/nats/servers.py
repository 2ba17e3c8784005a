"""Parses `nats.url`: the addresses of the servers, and the credentials. Pure.

No error quotes a URL, as it may contain a password. The errors of `urllib` do: they quote what it takes for the port.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

DEFAULT_PORT: Final = 4222

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15})://")
_NO_SLASHES: Final = re.compile(r"(nats|tls)(//|:(?!\d+/?$))", re.IGNORECASE)
"""A scheme with an incomplete "://". A host may be called "nats"."""
_HINTS: Final = {
    "http": " (8222 is NATS's monitoring, which is HTTP; its clients' port is 4222 by default)",
    "https": " (8222 is NATS's monitoring, which is HTTP; its clients' port is 4222 by default)",
    "ws": " (NATS over WebSocket is not offered: give the port of its ordinary clients)",
    "wss": " (NATS over WebSocket is not offered: give the port of its ordinary clients)",
}
_ENCODE: Final = (
    'in a user or password each of / ? # [ ] , must be percent-encoded ("/" is %2F), or set nats.user and nats.password'
)


class Servers(NamedTuple):
    """The servers of one cluster as host:port, whether they must speak TLS, and the credentials, which are "" if not
    given."""

    addresses: list[str]
    tls: bool
    user: str
    password: str
    token: str


class _Server(NamedTuple):
    address: str
    tls: bool
    login: tuple[str, str, str]


def parse_servers(text: str) -> Servers:
    """The servers in `text`, which has URLs separated by commas. A user without a password is a token, as everywhere in
    NATS.

    User, password and token are percent-decoded. Raises `ValueError`, whose text contains nothing secret.
    """
    urls = text.split(",")
    found = [_parse(url.strip(), f" (address {number} of {len(urls)})" if len(urls) > 1 else "")
             for number, url in enumerate(urls, 1)]  # fmt: skip
    logins = {server.login for server in found} - {("", "", "")}
    if len(logins) > 1:
        raise ValueError("expected one user in nats.url: the servers of a cluster have the same users")
    user, password, token = next(iter(logins), ("", "", ""))
    return Servers([server.address for server in found], any(server.tls for server in found), user, password, token)


def _parse(url: str, which: str) -> _Server:
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() not in ("nats", "tls"):
        raise ValueError(
            f'expected nats.url to begin with nats:// or tls://, got "{scheme[1].lower()}://"{which}'
            f"{_HINTS.get(scheme[1].lower(), '')}"
        )
    if scheme is None and _NO_SLASHES.match(url):
        raise ValueError(f"expected nats.url to begin with nats:// or tls://{which}")
    if re.search(r"[\s\x00-\x20\x7f]", url):
        raise ValueError(
            f"expected nats.url to have no spaces{which}: several servers are separated by commas, and in a user or "
            "password a space is %20"
        )
    try:
        parts = urlsplit(url if scheme else f"nats://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            f"expected nats.url to be nats://host:port{which}, the port from 1 to 65535; {_ENCODE}"
        ) from None
    if not host or "@" in host:
        raise ValueError(f"expected nats.url to be nats://host:port{which}, and it has no host; {_ENCODE}")
    if port == 0:
        raise ValueError(f"expected nats.url to be nats://host:port{which}, the port from 1 to 65535")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"expected nats.url to be nats://host:port{which}, with nothing after the port; {_ENCODE}")
    user, password = unquote(parts.username or ""), parts.password and unquote(parts.password)
    if password and not user:
        raise ValueError(f"expected nats.url to have a user before the password{which}")
    login = ("", "", user) if password is None else (user, password, "")
    address = f"[{host}]" if ":" in host else host
    return _Server(f"{address}:{port or DEFAULT_PORT}", parts.scheme.lower() == "tls", login)
