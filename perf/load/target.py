"""Which addresses may be measured, and how much load this machine's limits allow. Checked before anything starts."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from perf.errors import Refusal

SPARE_DESCRIPTORS = 64
"""What a client process needs besides its connections: pipes, the loop, the interpreter's own files."""

MAX_SOURCES = 50_000  # 127.77.0.1 to 127.77.199.250


class Target(NamedTuple):
    host: str
    port: int
    path: str


def parse(url: str) -> Target:
    """The WebSocket to connect to. Raises `Refusal` for anything that is not on this machine's loopback.

    A load generator that is aimed elsewhere by a typing error would be an attack; no option allows that.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        raise Refusal(f"{url}: the port is not a number up to 65535") from None
    if parts.scheme != "ws" or not parts.hostname:
        raise Refusal(f"{url}: expected ws://127.0.0.1:<port>/<path>")
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Refusal(f"{url}: perf puts load on 127.0.0.0/8 and ::1 only; run it on the machine that it measures")
    return Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def authority(host: str, port: int) -> str:
    """Host and port as URLs and requests write them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_limits(
    host: str, connections: int, processes: int, source_spread: int, descriptors: int, ports_per_source: int
) -> None:
    """Raises `Refusal` if the run cannot succeed, whatever the server does.

    `descriptors` is what one process may open (RLIMIT_NOFILE), `ports_per_source` how many ephemeral ports one source
    address has.
    """
    if connections < 1 or processes < 1:
        raise Refusal("--connections and --processes are at least 1")
    each = -(-connections // processes)
    room = descriptors - SPARE_DESCRIPTORS
    if each > room:
        raise Refusal(
            f"{connections} connections in {processes} processes are {each} in each, and a process may open {room} "
            f"(RLIMIT_NOFILE is {descriptors}): raise it with `ulimit -n {each + SPARE_DESCRIPTORS}`"
            + (f", or use --processes {-(-connections // room)}" if room > 0 else "")
        )
    if not 1 <= source_spread <= MAX_SOURCES:
        raise Refusal(f"--source-spread is 1 to {MAX_SOURCES} addresses")
    if source_spread > 1 and ":" in host:
        raise Refusal("--source-spread needs an IPv4 target: ::1 is the only address of its kind")
    if connections > ports_per_source * source_spread:
        raise Refusal(
            f"{connections} connections need more source ports than {source_spread} address(es) have "
            f"({ports_per_source} each): use --source-spread {-(-connections // ports_per_source)}"
        )
