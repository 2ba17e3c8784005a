"""A figure from a service's own /metrics."""

from __future__ import annotations

import http.client

from deploy.processes.ports import HOST

_TIMEOUT_S = 5.0


def read(port: int, name: str) -> float:
    """The value of a series, over all of its labels; 0.0 if the service does not answer or has none. Blocks."""
    lines = page(port).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def page(port: int) -> str:
    """The whole page; "" if the service does not answer. Blocks."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
