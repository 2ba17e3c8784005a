"""Checks that the stack's ports are free, and names the process that uses a taken one."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Mapping

import psutil

from deploy.local.settings import LocalStackError, Plan
from deploy.processes import ports


def require_free(plan: Plan, given: Mapping[str, str]) -> None:
    """Raises `LocalStackError` with every taken port, the process that uses it, and the variable that changes it.

    `given` are the variables that `make up` got; the suggestion repeats them.
    """
    problems: list[str] = []
    others: dict[str, int] = {}
    for port, process, variable in plan.listeners():
        if (trouble := _trouble(port)) is not None:
            others[variable] = _suggestion(plan, port)
            problems.append(f"port {port} ({process}) {trouble}; choose another: make up {variable}={others[variable]}")
    if len(others) > 1 or (others and given):
        together = {**given, **{name: str(port) for name, port in others.items()}}
        problems.append(
            "all together: make up " + " ".join(f"{name}={shlex.quote(each)}" for name, each in together.items())
        )
    if problems:
        raise LocalStackError("\n".join(problems))


def _trouble(port: int) -> str | None:
    error = ports.trouble(port)
    if error is None:
        return None
    if isinstance(error, PermissionError):
        return "may not be taken by this user"
    if error.errno != errno.EADDRINUSE:
        return f"cannot be taken: {error.strerror}"
    return f"is taken by {holder(port)}"


def holder(port: int) -> str:
    """The process that listens on the port, in a few words."""
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
    """A free port that is easy to remember; for an edge the port of the first edge."""
    span = 1
    for of_edges in (plan.edge_ports, plan.edge_client_ports):
        if port in of_edges:
            port, span = of_edges[0], plan.edges
    for candidate in range(port + 1000, 65000, 1000):
        if all(ports.trouble(candidate + step) is None for step in range(span)):
            return candidate
    return 0
