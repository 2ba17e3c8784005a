"""Free TCP ports on 127.0.0.1.

They are below the range that the kernel uses for outgoing connections. A load test makes thousands of these; and a
client that keeps retrying a stopped server in that range can end up connected to itself.
"""

from __future__ import annotations

import collections
import os
import random
import socket

HOST = "127.0.0.1"
RANGE = (15_000, 32_000)
RANGE_VARIABLE = "FREE_PORTS"
"""Narrows the range, as in FREE_PORTS=20000-26000, so that parallel test runs share no port."""

_ATTEMPTS = 500
_recent: collections.deque[int] = collections.deque(maxlen=1000)
"""Ports that this process has handed out: their users may not listen on them yet."""


def free_port(span: int = 1) -> int:
    """The first of `span` ports in a row on which no process listens now. Raises OSError if none is found."""
    first, last = parse_range(os.environ.get(RANGE_VARIABLE, ""))
    for _ in range(_ATTEMPTS):
        port = random.randint(first, last - span)
        ports = range(port, port + span)
        if not any(one in _recent or trouble(one) is not None for one in ports):
            _recent.extend(ports)
            return port
    raise OSError(f"no free port was found between {first} and {last}")


def trouble(port: int) -> OSError | None:
    """The error that a server would get if it listened on the port now; None if the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a socket in TIME_WAIT is not a listener
        try:
            probe.bind((HOST, port))
            # A listener without SO_REUSEADDR makes the bind fail, a listener with it only the listen.
            probe.listen(1)
        except OSError as error:
            return error
    return None


def parse_range(text: str) -> tuple[int, int]:
    """The range of FREE_PORTS, such as "20000-26000"; all of `RANGE` for ""."""
    if not text:
        return RANGE
    first, _, last = text.partition("-")
    return int(first), int(last)
