"""Whether each part of the stack is ready for use, asked over the same ports that its users use."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from deploy.local import record
from deploy.local.settings import Folders, Plan
from deploy.processes import postgres, readiness
from deploy.processes.ports import HOST
from deploy.processes.readiness import TIMEOUT_S, Check
from services.chassis.http.health import READY_PATH

_NO_ROUTE = (404, 502, 503, 504)


def checks(plan: Plan, folders: Folders) -> dict[str, Check]:
    """The checks of the processes that start with the stack, by name. Traefik is ready when it forwards requests."""
    ports = plan.ports
    observers = {
        name: partial(_answers, port, "/-/ready")
        for name, program, port in (
            ("prometheus", plan.prometheus, ports.prometheus),
            ("alertmanager", plan.alertmanager, ports.alertmanager),
        )
        if program
    }
    autoscaler = {"autoscaler": lambda: record.read_scaling(folders) is not None} if plan.autoscaled else {}
    edges = list(edge_checks(plan).items())[: plan.first_edges]
    return {
        "postgres": _accepts_sessions(postgres.programs(), ports.postgres),
        "nats": partial(readiness.nats_greets, ports.nats),
        "sessions": partial(_is_ready, ports.sessions),
        "metrics": partial(_is_ready, ports.metrics),
        **dict(edges),
        "traefik": lambda: _passes_on(ports.traefik) and _is_ready(ports.traefik_sockets),
        **autoscaler,
        **observers,
    }


def edge_checks(plan: Plan) -> dict[str, Check]:
    """The checks of every edge that may run, by name, in order."""
    return {f"edge-{number}": partial(_is_ready, port) for number, port in enumerate(plan.edge_ports, 1)}


def _is_ready(port: int) -> bool:
    return _answers(port, READY_PATH)


def _answers(port: int, path: str) -> bool:
    return readiness.http_status(port, "GET", path) == 200


def _passes_on(port: int) -> bool:
    return all(
        (status := readiness.http_status(port, method, path)) is not None and status not in _NO_ROUTE
        for method, path in (("POST", "/api/info"), ("GET", "/sessions"))
    )


def _accepts_sessions(programs: Path, port: int) -> Check:
    ask = [str(programs / "pg_isready"), "-q", "-h", HOST, "-p", str(port), "-t", str(round(TIMEOUT_S))]
    return lambda: subprocess.run(ask, capture_output=True).returncode == 0
