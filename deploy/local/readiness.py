"""Is each part of the stack ready for use? Asked over the same ports that its users use."""

from __future__ import annotations

import http.client
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.local import postgres
from deploy.local.settings import HOST, Plan
from services.chassis.http.health import READY_PATH

_TIMEOUT_S = 2.0
_NO_ROUTE = (404, 502, 503, 504)

Check = Callable[[], bool]


def checks(plan: Plan) -> dict[str, Check]:
    """Process name -> whether it is ready now. Traefik is ready when it passes requests on."""
    ports = plan.ports
    edges = {f"edge-{number}": _ready(port) for number, port in enumerate(plan.edge_ports, 1)}
    return {
        "postgres": _accepts_sessions(postgres.programs(), ports.postgres),
        "nats": lambda: _greeting(ports.nats) == b"INFO",
        "sessions": _ready(ports.sessions),
        "metrics": _ready(ports.metrics),
        **edges,
        "traefik": lambda: _passes_on(ports.traefik) and _status(ports.traefik_sockets, "GET", READY_PATH) == 200,
    }


def _ready(port: int) -> Check:
    return lambda: _status(port, "GET", READY_PATH) == 200


def _passes_on(port: int) -> bool:
    return all(
        (status := _status(port, method, path)) is not None and status not in _NO_ROUTE
        for method, path in (("POST", "/api/info"), ("GET", "/sessions"))
    )


def _status(port: int, method: str, path: str) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)  # never through a proxy
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _greeting(port: int) -> bytes:
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT_S) as connection:
            return connection.recv(4)
    except OSError:
        return b""


def _accepts_sessions(programs: Path, port: int) -> Check:
    ask = [str(programs / "pg_isready"), "-q", "-h", HOST, "-p", str(port), "-t", str(round(_TIMEOUT_S))]
    return lambda: subprocess.run(ask, capture_output=True).returncode == 0
