"""Whether a server on a port of 127.0.0.1 is ready for use. All of these block, for at most two seconds."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable

from deploy.processes.ports import HOST

TIMEOUT_S = 2.0

Check = Callable[[], bool]
"""True if it is ready now."""


def http_status(port: int, method: str = "GET", path: str = "/") -> int | None:
    """The status of the answer to a request, never through a proxy; None without an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=TIMEOUT_S).close()
    except OSError:
        return False
    return True


def nats_greets(port: int) -> bool:
    """True if a NATS server greets. The port of a container accepts connections before there is a server behind it."""
    try:
        with socket.create_connection((HOST, port), timeout=TIMEOUT_S) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False
