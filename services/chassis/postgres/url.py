"""The URL of a database, `postgresql://user:password@host:port/database?option=value`: checked before it is used.

It has the form that libpq and asyncpg accept. It may name several servers, `host1:port1,host2:port2`: the one that
takes writes is used. No error quotes the URL, as it contains a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from services.chassis.process.configured_files import read_configured

FORM: Final = "postgresql://user:password@host:5432/database"
MAX_SERVERS: Final = 8
TARGET: Final = "target_session_attrs"

_SCHEMES: Final = ("postgresql", "postgres")
_SERVER: Final = re.compile(r"(?:\[[^\[\]]+\]|[^:\[\]]+)(?::(\d+))?", re.ASCII)
_ESCAPED: Final = "; in user and password @ is written as %40, : as %3A, / as %2F, # as %23"
_VALUES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    TARGET: ("any", "primary", "read-write"),  # other values select servers that take no writes
}
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_NOT_OFFERED: Final = frozenset(
    {
        *("connect_timeout", "tcp_user_timeout", "hostaddr", "channel_binding", "gssencmode", "require_auth"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        *("sslcompression", "sslsni", "load_balance_hosts"),
    }
)
"""Options of libpq that asyncpg would pass on to the server, which refuses them."""


def check_url(url: str, setting: str = "postgres.url") -> None:
    """Raises ValueError with what was expected of `setting`."""
    try:
        _check(url)
    except ValueError as error:
        raise ValueError(str(error).replace("postgres.url", setting)) from None


def _check(url: str) -> None:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"expected postgres.url to begin with postgresql://, as in {FORM}")
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        raise ValueError(f"expected postgres.url like {FORM}{_ESCAPED}") from None
    servers = _servers(parts.netloc)
    if len(servers) > MAX_SERVERS:
        raise ValueError(f"expected postgres.url with at most {MAX_SERVERS} servers, got {len(servers)}")
    for server in servers:
        found = _SERVER.fullmatch(server)
        if found is None or parts.fragment or not 1 <= int(found[1] or 5432) <= 65535:
            raise ValueError(f"expected postgres.url like {FORM}, with ports from 1 to 65535{_ESCAPED}")
    for name, values in options.items():
        _check_option(name, values[-1])


def each_server(url: str) -> list[str]:
    """For each server that a checked `url` names, the URL of that server alone."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{login}{at}{one}").geturl() for one in _servers(parts.netloc)] or [url]


def target_of(url: str) -> str | None:
    """Which of several servers to use: the one that takes writes. None if `url` has one server, or says it itself."""
    parts = urlsplit(url)
    return "read-write" if len(_servers(parts.netloc)) > 1 and TARGET not in parse_qs(parts.query) else None


def _servers(netloc: str) -> list[str]:
    servers = netloc.rpartition("@")[2]
    return servers.split(",") if servers else []


def _check_option(name: str, value: str) -> None:
    if name in _NOT_OFFERED:
        raise ValueError(f"postgres.url: the option {name} is not offered here; leave it out")
    if name in _VALUES and value not in _VALUES[name]:
        raise ValueError(f"postgres.url: expected {name} to be one of {', '.join(_VALUES[name])}")
    if name in ("host", "port") and "," in value:
        raise ValueError(
            "postgres.url: expected several servers before the path: postgresql://host1:5432,host2:5432/..."
        )
    if name == "port" and not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        raise ValueError("postgres.url: expected port to be a number from 1 to 65535")
    if name in _FILES:
        try:
            read_configured(Path(value), 1)
        except (OSError, ValueError) as error:
            why = (getattr(error, "strerror", None) or str(error)).lower()
            raise ValueError(f"postgres.url: the file of {name} cannot be read: {why}: {value!a}") from None
