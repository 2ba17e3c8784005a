"""Is a port free, and if not, who has it?"""

from __future__ import annotations

import errno
import socket

import psutil

from deploy.local.settings import HOST, LocalStackError, Plan


def require_free(plan: Plan) -> None:
    """Raises `LocalStackError` that names every taken port, who has it, and the variable that changes it."""
    problems = [
        f"port {port} ({process}) {trouble}; choose another: make up {variable}={_suggestion(plan, port)}"
        for port, process, variable in plan.listeners()
        if (trouble := _trouble(port)) is not None
    ]
    if problems:
        raise LocalStackError("\n".join(problems))


def _trouble(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what lingers in TIME_WAIT is no listener
        try:
            probe.bind((HOST, port))
            # A listener without SO_REUSEADDR refuses the bind, one with it only the listen.
            probe.listen(1)
        except PermissionError:
            return "may not be taken by this user"
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"cannot be taken: {error.strerror}"
            return f"is taken by {holder(port)}"
    return None


def holder(port: int) -> str:
    """A few words on who listens on the port."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
            try:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {process.pid}, started in {process.cwd()})"
            except (psutil.Error, OSError):
                return f"process {connection.pid}"
    return "another process"


def _suggestion(plan: Plan, port: int) -> int:
    """A free port that is easy to remember; for an edge the number of the first one."""
    span = 1
    for of_edges in (plan.edge_ports, plan.edge_client_ports):
        if port in of_edges:
            port, span = of_edges[0], plan.edges
    for candidate in range(port + 1000, 65000, 1000):
        if all(_trouble(candidate + step) is None for step in range(span)):
            return candidate
    return 0
