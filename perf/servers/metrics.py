"""A figure from a service's own /metrics."""

from __future__ import annotations

import http.client

from deploy.processes.ports import HOST

_TIMEOUT_S = 5.0


def read(port: int, name: str) -> float:
    """The value of a series without labels; 0.0 if the service does not answer or has no such series. Blocks."""
    return next((float(line.split()[1]) for line in page(port).splitlines() if line.startswith(f"{name} ")), 0.0)


def page(port: int) -> str:
    """All of it; "" if the service does not answer. Blocks."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
